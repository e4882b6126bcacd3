"""The SQL store passes the store suite on PostgreSQL."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.partitions import bounds
from aftercommit.stores.sql.retention import DAY_MS
from aftercommit.stores.sql.schema import PARTITIONED
from tests.builders import T0
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_suite import StoreSuite
from tests.conformance.store_suite_programs import ProgramSuite
from tests.conformance.store_suite_reading import RetentionSuite
from tests.servers.postgres import Postgres

TODAY = T0 // DAY_MS


@pytest.fixture(scope="module")
def places(postgres: Postgres) -> Iterator[Places]:
    """A database for this module."""
    yield from empty_places(postgres.database())


@pytest.fixture(scope="module")
def undivided(postgres: Postgres) -> Iterator[Places]:
    """A database whose tables have no partition for the day of the tests' ids."""
    for places in empty_places(postgres.database()):
        asyncio.run(_run(places.address, *(f"DROP TABLE {each}_{TODAY}" for each in PARTITIONED)))
        yield places


class TestPostgresStore(StoreSuite):
    """Everything, and what is kept outlives the process.

    Rows in the partition of a day wait for it to go as a whole, which tests/stores/test_sql_partitions.py shows; those
    of the default partition go one by one, as the suite's do on every other database.
    """

    durable = True
    settles_while_publishing = False
    recounted_steps = 40

    @pytest.fixture
    def place(self, places: Places, undivided: Places, request: pytest.FixtureRequest) -> Any:
        if request.function.__qualname__.partition(".")[0] not in (RetentionSuite.__name__, ProgramSuite.__name__):
            return places.empty()
        address = undivided.empty()
        # A line about nothing: as long as it is in the default partition, its day gets no partition of its own.
        first, _end = bounds(TODAY)
        line = f"INSERT INTO event (message_id, at, event, status) VALUES ('{first}', 0, 'checked', 'undecided')"
        asyncio.run(_run(address, line))
        return address

    def make_store(self, place: Any) -> SqlStore:
        return SqlStore(place, chance=lambda: 0.0)


async def _run(address: Address, *statements: str) -> None:
    session = await backend_for(address).connector(10.0)()
    await session.begin()
    for each in statements:
        await session.run(each)
    await session.commit()
    session.terminate()
