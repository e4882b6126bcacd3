"""Behind PgBouncer in transaction mode, where each transaction may be another server connection's."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from tests.builders import T0, set_up_world
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_case import Play
from tests.conformance.store_suite_claims import CheckClaimSuite, ClaimSuite, PullClaimSuite
from tests.conformance.store_suite_dispatch import DispatchSuite
from tests.conformance.store_suite_intake import IntakeSuite
from tests.servers.databases import FreshDatabase
from tests.servers.pgbouncer import POOL_SIZE, PgBouncer
from tests.servers.postgres import Postgres
from tests.ways import SMALL_BUDGETS


@pytest.fixture(scope="module")
def places(postgres: Postgres, pgbouncer: PgBouncer) -> Iterator[Places]:
    """A database for this module, reached through the pooler only."""

    @contextmanager
    def behind() -> Iterator[FreshDatabase]:
        with postgres.database() as fresh:
            yield pgbouncer.behind(fresh)

    yield from empty_places(behind(), pooler="transaction")


class TestPooledStore(IntakeSuite, ClaimSuite, CheckClaimSuite, PullClaimSuite, DispatchSuite):
    """What is said in a transaction, and what is set for it, does not leak into anybody else's."""

    durable = True
    settles_while_publishing = False

    @pytest.fixture
    def place(self, places: Places) -> Any:
        return places.empty()

    def make_store(self, place: Any) -> SqlStore:
        return SqlStore(place, chance=lambda: 0.0)


async def test_two_stores_make_progress_with_fewer_connections_than_they_want(places: Places) -> None:
    """Every transaction waits for a server connection, none for one that its own task holds."""
    address: Address = await asyncio.to_thread(places.empty)
    stores = [SqlStore(address, chance=lambda: 0.0) for _ in range(2)]
    for each in stores:
        await each.open(T0)
    plays = [Play(each, await set_up_world(each, policy=SMALL_BUDGETS)) for each in stores]
    numbers = range(1, 12 * POOL_SIZE + 1)

    await asyncio.gather(*(plays[number % 2].come("completed", number) for number in numbers))

    assert {each.status.value for each in await plays[0].all_messages()} == {"completed"}
    assert sum(each.count for each in await stores[1].tallies()) == len(numbers)
    for each in stores:
        await each.close()
