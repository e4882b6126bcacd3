"""What goes wrong around a database: cancelled callers, cut connections, a killed server. Nothing is ever guessed."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Outcome
from aftercommit.ports.store import Dispatched
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.session import ConnectionLost
from tests.builders import set_up_world
from tests.conformance.sql_places import Places
from tests.conformance.store_case import Play
from tests.conformance.store_suite_dispatch import Gate, Script, sends
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy
from tests.stores.sql_worlds import (
    DATABASES,
    database_server,
    hold_counts,
    lock,
    node,
    places_of,
    prepared,
    soon,
    stranger,
    two_nodes,
    until_one_waits,
)

# More pieces than any write here sends, connecting included.
PIECES_MAX: Final = 40


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
async def play(address: Address) -> AsyncIterator[Play]:
    """A node on it, not through any proxy."""
    async with two_nodes(address) as (first, _second):
        yield first


async def cancelled(task: "asyncio.Task[object]") -> None:
    """Cancel it and wait for its end."""
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def until_free(address: Address, number: int) -> None:
    """Returns when nobody holds message `number`; the lock is waited for, as long as a statement may wait."""
    async with stranger(address) as other:
        await lock(other, number)


async def test_a_dispatch_cancelled_while_it_publishes_lets_go_of_its_rows(play: Play, address: Address) -> None:
    await prepared(play, 1, confirmed=True)
    broker = Gate()
    dispatching: asyncio.Task[object] = asyncio.create_task(play.store.dispatch(sends(play), broker, play.now))
    await soon(broker.asked.wait())

    await cancelled(dispatching)

    await soon(until_free(address, 1))
    assert (await play.state()).status == Status.PENDING_SEND
    assert await soon(play.store.dispatch(sends(play), Script(), play.now)) == Dispatched(accepted=1)


async def test_a_write_cancelled_while_it_waits_for_a_count_has_done_nothing(play: Play, address: Address) -> None:
    await prepared(play, 1)
    async with stranger(address) as holder:
        await hold_counts(holder, stripe=0)
        writing: asyncio.Task[object] = asyncio.create_task(play.write(play.say(1).confirm()))
        await soon(until_one_waits(address))

        await cancelled(writing)
    await soon(until_free(address, 1))

    assert (await play.state()).status == Status.PENDING_CONFIRMATION
    assert (await soon(play.one(play.say(1).confirm()))).changed


async def test_many_cancelled_writes_use_up_no_connection(play: Play, address: Address) -> None:
    await prepared(play, *range(1, 7))
    for number in range(1, 7):
        async with stranger(address) as holder:
            await hold_counts(holder, stripe=0)
            writing: asyncio.Task[object] = asyncio.create_task(play.write(play.say(number).confirm()))
            await soon(until_one_waits(address))
            await cancelled(writing)
            await holder.rollback()
            await soon(until_free(address, number))

    assert (await soon(play.one(play.say(1).confirm()))).changed


async def test_an_idle_transaction_is_ended_by_the_server_and_its_rows_are_free(play: Play, address: Address) -> None:
    await prepared(play, 1)
    session = await backend_for(address).connector(1.0)()
    await lock(session, 1)

    await soon(until_free(address, 1))

    with pytest.raises(ConnectionLost):
        await session.rows("SELECT 1")
    session.terminate()
    assert (await soon(play.one(play.say(1).confirm()))).changed


class Wire:
    """What becomes of the pieces a store sends: forwarded, until the test says otherwise. One fault, then no more."""

    def __init__(self) -> None:
        self.pieces = 0
        self._commit = False
        self._number = 0
        self._fault = FORWARD

    def at_piece(self, number: int, fault: Fault) -> None:
        """From now on, the piece `number` (from 1) suffers."""
        self.pieces, self._number, self._commit, self._fault = 0, number, False, fault

    def at_commit(self, fault: Fault) -> None:
        """The next COMMIT suffers."""
        self._number, self._commit, self._fault = 0, True, fault

    def __call__(self, piece: bytes) -> Fault:
        """The proxy's question."""
        self.pieces += 1
        # Not the isolation level READ COMMITTED, which connections begin with.
        struck = self.pieces == self._number or (self._commit and re.search(rb"COMMIT(?!TED)", piece) is not None)
        if not struck:
            return FORWARD
        self._number, self._commit = 0, False
        return self._fault


@pytest.fixture
def wire() -> Wire:
    """Nothing bad yet."""
    return Wire()


@pytest.fixture
async def shaky(server: Postgres | MariaDB, address: Address, wire: Wire) -> AsyncIterator[Play]:
    """A node whose way to the database is the wire."""
    with FaultProxy(server.port, wire) as proxy:
        async with node(replace(address, port=proxy.port)) as store:
            yield Play(store, await set_up_world(store))


LOST: Final = Fault(Fate.LOSE_ANSWER, 0.01)


async def test_a_prepare_whose_commit_was_not_answered_is_told_as_it_stands(shaky: Play, wire: Wire) -> None:
    wire.at_commit(LOST)

    outcome = await soon(shaky.one(shaky.say(1).prepare()))

    assert (outcome.status, outcome.refusal) == (Status.PENDING_CONFIRMATION, None)
    assert len(await shaky.all_messages()) == 1
    assert [each.count for each in await shaky.store.tallies()] == [1]


async def test_a_confirm_whose_commit_was_not_answered_is_told_as_it_stands(shaky: Play, wire: Wire) -> None:
    await prepared(shaky, 1)
    wire.at_commit(LOST)

    outcome = await soon(shaky.one(shaky.say(1).confirm()))

    assert (outcome.status, outcome.refusal) == (Status.PENDING_SEND, None)
    assert (await shaky.state()).version == 2


async def test_a_claim_whose_commit_was_not_answered_takes_nothing_twice(shaky: Play, wire: Wire) -> None:
    """What it took is lost to its claimant and comes again later; the second run takes what is left."""
    await prepared(shaky, 1, 2, confirmed=True)
    await shaky.claim(c.ClaimSends(topic=shaky.world.topic, limit=2))
    wire.at_commit(LOST)

    claimed = await soon(shaky.claim(c.ClaimPulls(subscription=shaky.world.default, limit=1)))

    attempts = [(await shaky.state(each)).deliveries[0].attempts for each in (1, 2)]
    assert (len(claimed.taken), attempts) == (1, [1, 1])


async def test_a_dispatch_whose_commit_was_not_answered_says_so(shaky: Play, wire: Wire) -> None:
    await prepared(shaky, 1, confirmed=True)
    broker = Script()
    wire.at_commit(LOST)

    with pytest.raises(StoreUnavailable):
        await soon(shaky.store.dispatch(sends(shaky), broker, shaky.now))

    assert (await shaky.state()).status == Status.SENT
    assert await soon(shaky.store.dispatch(sends(shaky), broker, shaky.now)) == Dispatched()
    assert broker.published == [[1]]


async def outcome_of(write: Awaitable[list[Outcome]]) -> list[Outcome]:
    """What a write says; none where the database could not be used. Any other error is the test's end."""
    try:
        return await write
    except StoreUnavailable:
        return []


@pytest.mark.parametrize("fate", [Fault(Fate.CUT), LOST, Fault(Fate.LATE, 0.0)], ids=lambda fault: fault.fate.value)
async def test_a_write_cut_at_any_piece_is_done_wholly_or_not_at_all(shaky: Play, wire: Wire, fate: Fault) -> None:
    """Message by message, the next piece is the one that suffers; in the end no piece is left to."""
    struck = 0
    for piece in range(1, PIECES_MAX):
        old, new = 2 * piece, 2 * piece + 1
        await prepared(shaky, old)
        wire.at_piece(piece, fate)
        outcomes = await soon(outcome_of(shaky.do(shaky.say(old).confirm(), shaky.say(new).prepare())))
        if wire.pieces < piece:
            break
        struck += 1
        wire.at_piece(0, FORWARD)

        there = await soon(shaky.store.find([shaky.say(old).id, shaky.say(new).id]))
        done = shaky.say(new).id in there
        assert there[shaky.say(old).id].status == (Status.PENDING_SEND if done else Status.PENDING_CONFIRMATION)
        assert done or not outcomes
        assert (await shaky.content(new) is not None) == done
        again = await soon(shaky.do(shaky.say(old).confirm(), shaky.say(new).prepare()))
        assert [each.status for each in again] == [Status.PENDING_SEND, Status.PENDING_CONFIRMATION]
    assert 4 <= struck < PIECES_MAX - 1
    assert sum(each.count for each in await shaky.store.tallies()) == len(await shaky.all_messages())
