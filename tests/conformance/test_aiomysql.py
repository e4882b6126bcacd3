"""What the SQL store can do on MariaDB through aiomysql, its second driver."""

from collections.abc import Iterator

import pytest

from aftercommit.domain.errors import Inconsistency
from aftercommit.stores.sql import SqlStore
from tests.builders import T0, set_up_world
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_case import Play
from tests.servers.mariadb import MariaDB
from tests.ways import SMALL_BUDGETS


@pytest.fixture(scope="module")
def places(mariadb: MariaDB) -> Iterator[Places]:
    """A database for this module, reached through the other driver."""
    yield from empty_places(mariadb.database(), driver="aiomysql")


@pytest.fixture
def store(places: Places) -> SqlStore:
    """A store that is not open yet."""
    return SqlStore(places.empty(), chance=lambda: 0.0)


async def test_it_opens_and_keeps_a_catalogue(store: SqlStore) -> None:
    await store.open(T0)

    world = await set_up_world(store)
    await store.ping()

    await store.refresh_catalog()
    assert store.catalog.topics[world.topic].name == "orders.created"
    await store.close()


@pytest.mark.xfail(
    strict=True,
    raises=Inconsistency,
    reason="aiomysql 0.3.2 can write neither bytes nor lists with PyMySQL 1.2. Once the store writes them for it, this"
    " file becomes the store suite.",
)
async def test_it_keeps_messages(store: SqlStore) -> None:
    await store.open(T0)
    play = Play(store, await set_up_world(store, policy=SMALL_BUDGETS))
    try:
        message = await play.come("completed")

        assert message.status.value == "completed"
    finally:
        await store.close()
