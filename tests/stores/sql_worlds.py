"""Two nodes' stores on one database of each kind, and a stranger with a connection of its own to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import pytest

from aftercommit.domain import commands as c
from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.session import Session
from tests.builders import T0, message_id, set_up_world
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_case import Play
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.ways import SMALL_BUDGETS

T = TypeVar("T")

DATABASES: Final = ("postgres", "mariadb")
# Far less than the five seconds that a statement waits for a lock: whoever is back by then did not wait for one.
SOON_SECONDS: Final = 3.0
# How long a stranger's transaction may stay idle.
STRANGER_SECONDS: Final = 60.0


def database_server(request: pytest.FixtureRequest) -> Postgres | MariaDB:
    """The server that the fixture's parameter names; its fixture is asked for only then."""
    server: Postgres | MariaDB = request.getfixturevalue(request.param)
    return server


def places_of(server: Postgres | MariaDB) -> Iterator[Places]:
    """A database with our schema, for a fixture of wider scope."""
    yield from empty_places(server.database())


@asynccontextmanager
async def node(address: Address, *, chance: float = 0.0) -> AsyncIterator[SqlStore]:
    """An open store. Two of different `chance` count on different stripes, so that they share rows of messages only."""
    store = SqlStore(address, chance=lambda: chance)
    await store.open(T0)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def two_nodes(address: Address) -> AsyncIterator[tuple[Play, Play]]:
    """Two nodes that see the same world, with small budgets."""
    async with node(address) as one, node(address, chance=0.5) as other:
        world = await set_up_world(one, policy=SMALL_BUDGETS)
        await other.refresh_catalog()
        yield Play(one, world), Play(other, world)


@asynccontextmanager
async def stranger(address: Address) -> AsyncIterator[Session]:
    """A connection of somebody else's, outside of any transaction; what is open at the end is undone."""
    session = await backend_for(address).connector(STRANGER_SECONDS)()
    try:
        yield session
        # A closed socket alone would leave the locks until the server sees it.
        await session.rollback()
    finally:
        session.terminate()


async def lock(session: Session, *numbers: int) -> None:
    """Begin a transaction that holds the rows of these messages."""
    await session.begin()
    for each in numbers:
        found = await session.rows(f"SELECT id FROM message WHERE id = '{message_id(each)}' FOR UPDATE")
        assert len(found) == 1, f"There is no message {each} to lock."


async def hold_counts(session: Session, *, stripe: int) -> None:
    """Begin a transaction that holds a stripe of counts: who counts on it waits, at the end of its write."""
    await session.begin()
    assert await session.rows(f"SELECT * FROM tally WHERE stripe = {stripe} FOR UPDATE")


_WAITING: Final = {
    "postgresql": """
        SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'""",
    # Not innodb_trx: that one is renewed only where nobody has asked for a tenth of a second.
    "mysql": """
        SELECT variable_value FROM information_schema.global_status
        WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS' AND variable_value > 0""",
}


async def until_one_waits(address: Address) -> None:
    """Returns when a transaction waits for a lock: in this database, or anywhere on MySQL's server."""
    async with stranger(address) as watcher:
        while not await watcher.rows(_WAITING[address.dialect]):
            pass


async def soon(work: Awaitable[T]) -> T:
    """What `work` comes to; it fails where it waits for a lock."""
    async with asyncio.timeout(SOON_SECONDS):
        return await work


async def prepared(play: Play, *numbers: int, confirmed: bool = False) -> None:
    """These messages, prepared in one write, all at the same time."""
    await play.do(*[play.say(each).prepare(confirmed=confirmed) for each in numbers])


async def pullable(play: Play, *numbers: int) -> None:
    """These messages, waiting to be pulled."""
    await prepared(play, *numbers, confirmed=True)
    claimed = await play.claim(c.ClaimSends(topic=play.world.topic, limit=len(numbers)))
    assert len(claimed.taken) == len(numbers)
