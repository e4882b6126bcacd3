"""Rows that somebody else holds are left alone, and never waited for; everything else of a write is done."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Claimed, Outcome
from aftercommit.ports.store import Busy, Dispatched
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.folding import HELD_MS
from tests.builders import MINUTE, message_id
from tests.conformance.sql_places import Places
from tests.conformance.store_case import Play, numbers
from tests.conformance.store_suite_dispatch import Gate, Script, sends
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.stores.sql_worlds import (
    DATABASES,
    database_server,
    hold_counts,
    lock,
    places_of,
    prepared,
    pullable,
    soon,
    stranger,
    two_nodes,
    until_one_waits,
)


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


@pytest.fixture
def play(nodes: tuple[Play, Play]) -> Play:
    """The first of the two nodes."""
    return nodes[0]


async def test_only_what_is_locked_is_busy(play: Play, address: Address) -> None:
    await prepared(play, 1, 2, 3)
    async with stranger(address) as other:
        await lock(other, 2)

        first, second, third = await soon(play.write(*[play.say(each).confirm() for each in (1, 2, 3)]))

        assert second == Busy(id=message_id(2), status=Status.PENDING_CONFIRMATION)
        assert [each.changed for each in (first, third) if isinstance(each, Outcome)] == [True, True]
    assert (await play.state(1)).status == Status.PENDING_SEND
    assert (await play.state(2)).status == Status.PENDING_CONFIRMATION


async def test_the_busy_one_is_done_once_the_lock_is_gone(play: Play, address: Address) -> None:
    await prepared(play, 1)
    async with stranger(address) as other:
        await lock(other, 1)
        assert isinstance((await soon(play.write(play.say(1).confirm())))[0], Busy)
        await other.rollback()

        [outcome] = await soon(play.write(play.say(1).confirm()))

    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.changed) == (Status.PENDING_SEND, True)


async def test_a_repeated_prepare_of_a_locked_message_is_busy_and_others_are_created(
    play: Play, address: Address
) -> None:
    await prepared(play, 1)
    async with stranger(address) as other:
        await lock(other, 1)

        again, new = await soon(play.write(play.say(1).prepare(), play.say(2).prepare()))

    assert again == Busy(id=message_id(1), status=Status.PENDING_CONFIRMATION)
    assert isinstance(new, Outcome)
    assert new.created


async def test_a_claim_of_pulls_passes_by_what_is_locked(play: Play, address: Address) -> None:
    await pullable(play, 1, 2, 3)
    claim = c.ClaimPulls(subscription=play.world.default, limit=10)
    async with stranger(address) as other:
        await lock(other, 2)

        claimed = await soon(play.claim(claim))

        assert numbers(claimed) == [1, 3]
        assert claimed.next_at == play.now + HELD_MS
    play.later(HELD_MS)
    assert numbers(await soon(play.claim(claim))) == [2]


async def test_a_claim_of_checks_passes_by_what_is_locked(play: Play, address: Address) -> None:
    await prepared(play, 1, 2, 3)
    play.later(MINUTE)
    claim = c.ClaimChecks(app=play.world.orders, limit=10)
    async with stranger(address) as other:
        await lock(other, 1)

        claimed = await soon(play.claim(claim))

        assert numbers(claimed) == [2, 3]
        assert claimed.next_at == play.now + HELD_MS
    play.later(HELD_MS)
    assert numbers(await soon(play.claim(claim))) == [1]


async def test_a_claim_looks_behind_what_is_locked_for_its_limit(play: Play, address: Address) -> None:
    await pullable(play, *range(1, 7))
    async with stranger(address) as other:
        await lock(other, 1, 2, 3)

        claimed = await soon(play.claim(c.ClaimPulls(subscription=play.world.default, limit=2)))

    assert len(claimed.taken) == 2
    assert set(numbers(claimed)) <= {4, 5, 6}


async def test_a_dispatch_passes_by_what_is_locked(play: Play, address: Address) -> None:
    await prepared(play, 1, 2, 3, confirmed=True)
    broker = Script()
    async with stranger(address) as other:
        await lock(other, 2)

        done = await soon(play.store.dispatch(sends(play), broker, play.now))

        assert (done, broker.published) == (Dispatched(accepted=2), [[1, 3]])
    assert await soon(play.store.dispatch(sends(play), broker, play.now)) == Dispatched(accepted=1)
    assert broker.published == [[1, 3], [2]]


async def test_nobody_is_blocked_next_to_an_open_dispatch(nodes: tuple[Play, Play]) -> None:
    """A range that was looked through is not locked, neither its rows nor the gaps between them."""
    play, other = nodes
    await prepared(play, 10, 20, 30, confirmed=True)
    broker = Gate()
    dispatching = asyncio.create_task(play.store.dispatch(sends(play, limit=2), broker, play.now))
    await soon(broker.asked.wait())

    created = await soon(other.write(*[other.say(each).prepare(confirmed=True) for each in (5, 15, 25, 35)]))
    later = await soon(other.write(other.say(40).prepare(), other.say(40).confirm()))
    taken = await soon(other.claim(c.ClaimSends(topic=other.world.topic, limit=100)))

    assert all(isinstance(each, Outcome) and each.refusal is None for each in [*created, *later])
    assert set(broker.published) == {10, 20}
    assert set(numbers(taken)) == {5, 15, 25, 30, 35, 40}
    broker.open.set()
    assert await soon(dispatching) == Dispatched(accepted=2)


async def test_nobody_is_blocked_next_to_an_open_claim(nodes: tuple[Play, Play], address: Address) -> None:
    """The claim stands still before its commit: a stranger holds the counts, which are written last."""
    play, other = nodes
    await prepared(play, 10, 20, 30, confirmed=True)

    def claim(limit: int) -> c.ClaimSends:
        return c.ClaimSends(topic=play.world.topic, limit=limit)

    async with stranger(address) as holder:
        await hold_counts(holder, stripe=0)
        claiming = asyncio.create_task(play.claim(claim(2)))
        await soon(until_one_waits(address))

        created = await soon(other.write(*[other.say(each).prepare(confirmed=True) for each in (5, 15, 35)]))
        taken = await soon(other.claim(claim(100)))

        assert len([each for each in created if isinstance(each, Outcome) and each.created]) == 3
        assert set(numbers(taken)) == {5, 15, 30, 35}
        assert not claiming.done()
        await holder.rollback()
        assert set(numbers(await soon(claiming))) == {10, 20}


async def test_two_nodes_never_claim_the_same_attempt(nodes: tuple[Play, Play]) -> None:
    play, other = nodes
    await pullable(play, *range(1, 41))

    async def claim_all(one: Play) -> list[int]:
        mine: list[int] = []
        for _ in range(4):
            mine += numbers(await soon(one.claim(c.ClaimPulls(subscription=one.world.default, limit=5))))
        return mine

    mine, theirs = await asyncio.gather(claim_all(play), claim_all(other))

    assert mine
    assert theirs
    assert len(set(mine + theirs)) == len(mine + theirs)


async def test_claims_of_two_nodes_at_once_come_to_everything(nodes: tuple[Play, Play]) -> None:
    play, other = nodes
    await pullable(play, *range(1, 21))
    claim = c.ClaimPulls(subscription=play.world.default, limit=20)

    first, second = await asyncio.gather(soon(play.claim(claim)), soon(other.claim(claim)))
    rest: Claimed = await play.claim(claim)

    assert sorted(numbers(first) + numbers(second) + numbers(rest)) == list(range(1, 21))
