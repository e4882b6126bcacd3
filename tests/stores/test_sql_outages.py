"""A database that is killed, or takes no writes: told as unavailable, and used again when it is back."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.domain.lifecycle import Status
from aftercommit.stores.sql.address import Address
from tests.conformance.sql_places import Places
from tests.conformance.store_case import Play
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.stores.sql_worlds import DATABASES, places_of, prepared, soon, stranger, two_nodes

KINDS: dict[str, type[Postgres] | type[MariaDB]] = {"postgres": Postgres, "mariadb": MariaDB}


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | MariaDB]:
    """Each kind of database, as a server of this module's own: it is killed."""
    # Where this machine has none, the shared one's fixture says so.
    request.getfixturevalue(request.param)
    found = KINDS[request.param].found()
    assert found is not None
    with found as own:
        yield own


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
    """A node on it."""
    async with two_nodes(address) as (first, _second):
        yield first


async def test_after_a_restart_between_two_writes_the_next_one_succeeds(play: Play, server: Postgres | MariaDB) -> None:
    await prepared(play, 1)
    assert (await play.state()).status == Status.PENDING_CONFIRMATION
    server.kill9()
    server.start()

    assert (await soon(play.one(play.say(1).confirm()))).changed
    assert (await soon(play.state())).status == Status.PENDING_SEND


async def test_while_it_is_down_it_is_unavailable_and_nothing_is_lost(play: Play, server: Postgres | MariaDB) -> None:
    await prepared(play, 1)
    await play.state()
    server.kill9()
    try:
        for _ in range(6):
            with pytest.raises(StoreUnavailable):
                await soon(play.write(play.say(1).confirm()))
            with pytest.raises(StoreUnavailable):
                await soon(play.state())
    finally:
        server.start()

    assert (await soon(play.state())).status == Status.PENDING_CONFIRMATION
    claimed = await soon(play.claim(c.ClaimSends(topic=play.world.topic, limit=1)))
    assert not claimed.taken
    assert (await soon(play.one(play.say(1).confirm()))).changed


READ_ONLY = {
    "postgresql": ("ALTER SYSTEM SET default_transaction_read_only = {}", "SELECT pg_reload_conf()"),
    "mysql": ("SET GLOBAL read_only = {}",),
}


async def set_read_only(address: Address, value: str) -> None:
    """Say for every session, also those that are connected, whether it may write."""
    async with stranger(address) as administrator:
        for statement in READ_ONLY[address.dialect]:
            await administrator.run(statement.format(value))


@pytest.fixture
async def ordinary(address: Address) -> Address:
    """The database for a user who is bound by `read_only`, as MariaDB's administrators are not."""
    if address.dialect == "mysql":
        async with stranger(address) as administrator:
            await administrator.run("CREATE USER IF NOT EXISTS ordinary@127.0.0.1 IDENTIFIED BY 'secret'")
            await administrator.run(f"GRANT ALL PRIVILEGES ON {address.database}.* TO ordinary@127.0.0.1")
        return replace(address, user="ordinary")
    return address


async def test_a_database_that_takes_no_writes_is_unavailable_until_it_does(
    address: Address, ordinary: Address
) -> None:
    async with two_nodes(ordinary) as (play, _other):
        await prepared(play, 1)
        await set_read_only(address, "on")
        try:
            await soon(until_writes_are(play, taken=False))
            with pytest.raises(StoreUnavailable):
                await soon(play.write(play.say(1).confirm()))
            assert (await soon(play.state())).status == Status.PENDING_CONFIRMATION
        finally:
            await set_read_only(address, "off")
        await soon(until_writes_are(play, taken=True))

        assert (await soon(play.one(play.say(1).confirm()))).changed


async def until_writes_are(play: Play, *, taken: bool) -> None:
    """Returns when they are taken, or are no longer. A server takes a moment to tell its sessions what was set."""
    while await takes_writes(play) != taken:
        pass


async def takes_writes(play: Play) -> bool:
    """Whether a ping gets through."""
    try:
        await play.store.ping()
    except StoreUnavailable:
        return False
    return True
