"""The SQL store passes the store suite on PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import pytest

from aftercommit.stores.sql import SqlStore
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_suite import StoreSuite
from tests.servers.postgres import Postgres


@pytest.fixture(scope="module")
def places(postgres: Postgres) -> Iterator[Places]:
    """A database for this module."""
    yield from empty_places(postgres.database())


class TestPostgresStore(StoreSuite):
    """Everything, and what is kept outlives the process."""

    durable = True
    settles_while_publishing = False

    @pytest.fixture
    def place(self, places: Places) -> Any:
        return places.empty()

    def make_store(self, place: Any) -> SqlStore:
        return SqlStore(place, chance=lambda: 0.0)
