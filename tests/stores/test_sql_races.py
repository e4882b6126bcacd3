"""Two nodes at once at the same messages: one of them does it, and every caller is told the truth."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import Outcome
from aftercommit.ports.store import Busy
from aftercommit.stores.sql.address import Address
from tests.builders import make_content, message_id
from tests.conformance.sql_places import Places
from tests.conformance.store_case import Play
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.stores.sql_worlds import (
    DATABASES,
    database_server,
    lock,
    places_of,
    prepared,
    soon,
    stranger,
    two_nodes,
    until_one_waits,
)

ROUNDS = 8


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest) -> Postgres | MariaDB:
    """Each kind of database."""
    return database_server(request)


@pytest.fixture(scope="module")
def places(server: Postgres | MariaDB) -> Iterator[Places]:
    """A database for this module."""
    yield from places_of(server)


@pytest.fixture
def address(places: Places) -> Address:
    """The database, empty."""
    return places.empty()


@pytest.fixture
async def nodes(address: Address) -> AsyncIterator[tuple[Play, Play]]:
    """Two nodes on it."""
    async with two_nodes(address) as both:
        yield both


async def until_done(play: Play, work: list[c.Prepare | c.Command]) -> list[Outcome]:
    """The outcomes of a batch; what is busy is asked for again, by itself."""
    outcomes: dict[int, Outcome] = {}
    left = list(range(len(work)))
    while left:
        results = await play.write(*[work[each] for each in left])
        outcomes |= {n: each for n, each in zip(left, results, strict=True) if isinstance(each, Outcome)}
        left = [n for n, each in zip(left, results, strict=True) if isinstance(each, Busy)]
    return [outcomes[each] for each in range(len(work))]


async def test_four_writers_in_opposite_orders_meet_no_deadlock(nodes: tuple[Play, Play]) -> None:
    """Prepares of the same new messages, then confirms of them, in any order; each is done exactly once."""
    chance = random.Random(4)
    plays = [*nodes, *nodes]
    for round_ in range(ROUNDS):
        wanted = list(range(round_ * 20 + 1, round_ * 20 + 21))
        orders = [wanted, wanted[::-1], chance.sample(wanted, 20), chance.sample(wanted, 20)]

        made = await asyncio.gather(
            *[
                until_done(play, [play.say(n).prepare() for n in order])
                for play, order in zip(plays, orders, strict=True)
            ]
        )
        confirmed = await asyncio.gather(
            *[
                until_done(play, [play.say(n).confirm() for n in order])
                for play, order in zip(plays, orders, strict=True)
            ]
        )

        created = Counter(each.id for outcomes in made for each in outcomes if each.created)
        changed = Counter(each.id for outcomes in confirmed for each in outcomes if each.changed)
        everything = {message_id(n): 1 for n in wanted}
        assert (created, changed) == (everything, everything)
        assert {each.status for outcomes in made for each in outcomes} == {Status.PENDING_CONFIRMATION}
        assert {each.status for outcomes in confirmed for each in outcomes} == {Status.PENDING_SEND}


async def test_of_prepares_at_once_one_creates_and_the_others_repeat(nodes: tuple[Play, Play]) -> None:
    for number in range(1, ROUNDS + 1):
        outcomes = await asyncio.gather(*[soon(play.one(play.say(number).prepare())) for play in (*nodes, *nodes)])

        assert [each.status for each in outcomes] == [Status.PENDING_CONFIRMATION] * 4
        assert sorted(each.created for each in outcomes) == [False, False, False, True]


async def test_of_prepares_at_once_with_other_content_one_creates_and_the_others_conflict(
    nodes: tuple[Play, Play],
) -> None:
    for number in range(1, ROUNDS + 1):
        contents = [make_content(b'{"order":%d}' % each) for each in range(4)]

        outcomes = await asyncio.gather(
            *[
                soon(play.one(replace(play.say(number).prepare(), content=content)))
                for play, content in zip((*nodes, *nodes), contents, strict=True)
            ]
        )

        [winner] = [n for n, each in enumerate(outcomes) if each.created]
        assert [each.refusal for each in outcomes if not each.created] == [Refusal.ID_CONFLICT] * 3
        assert await nodes[0].content(number) == contents[winner]


async def test_a_cancel_that_leaves_a_tombstone_and_a_prepare_at_once(nodes: tuple[Play, Play]) -> None:
    """Whichever is first: nothing is ever sent, and the preparer is told where it came too late."""
    play, other = nodes
    for number in range(1, ROUNDS + 1):
        made, cancelled = await asyncio.gather(
            soon(play.one(play.say(number).prepare())), soon(other.one(other.say(number).cancel(tombstone=True)))
        )

        assert (cancelled.status, cancelled.refusal) == (Status.ROLLED_BACK, None)
        assert made.created or made.refusal == Refusal.ROLLED_BACK
        assert (await play.state(number)).status == Status.ROLLED_BACK


async def test_counts_are_right_after_writers_of_one_stripe(nodes: tuple[Play, Play]) -> None:
    play, _other = nodes

    await asyncio.gather(*[until_done(play, [play.say(w * 10 + n).prepare() for n in range(10)]) for w in range(1, 5)])

    assert [(each.status, each.count) for each in await play.store.tallies()] == [(Status.PENDING_CONFIRMATION, 40)]


async def test_what_is_busy_is_told_as_it_stands_now(nodes: tuple[Play, Play], address: Address) -> None:
    play, other = nodes
    await prepared(play, 1)
    await other.one(other.say(1).confirm())
    async with stranger(address) as holder:
        await lock(holder, 1)

        assert await soon(play.write(play.say(1).cancel())) == [Busy(id=message_id(1), status=Status.PENDING_SEND)]


async def test_postgresql_shows_in_one_statement_what_was_when_it_began(postgres: Postgres) -> None:
    """Why a skipped row is read by a statement of its own: the one that skipped it shows the past."""
    with postgres.database() as fresh:
        address = Address.parse(fresh.url())
        async with stranger(address) as holder, stranger(address) as reader:
            await holder.run("CREATE TABLE message (id int PRIMARY KEY, status text)")
            await holder.run("INSERT INTO message VALUES (1, 'before')")
            await holder.begin()
            await holder.run("SELECT pg_advisory_lock(7)")
            await holder.run("UPDATE message SET status = 'after'")
            await reader.begin()
            statement = """
                WITH waited AS MATERIALIZED (SELECT pg_advisory_lock(7) AS nothing)
                SELECT message.status FROM waited, message"""
            reading = asyncio.create_task(reader.rows(statement))
            await soon(until_one_waits(address))
            await holder.commit()
            await holder.run("SELECT pg_advisory_unlock(7)")

            [[in_the_same]] = await soon(reading)
            [[in_the_next]] = await reader.rows("SELECT status FROM message")

            assert (in_the_same, in_the_next) == ("before", "after")
