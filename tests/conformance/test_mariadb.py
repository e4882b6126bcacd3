"""The SQL store passes the store suite on MariaDB."""

from collections.abc import Iterator
from typing import Any

import pytest

from aftercommit.stores.sql import SqlStore
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_suite import StoreSuite
from tests.servers.mariadb import MariaDB


@pytest.fixture(scope="module")
def places(mariadb: MariaDB) -> Iterator[Places]:
    """A database for this module."""
    yield from empty_places(mariadb.database())


class TestMariaDBStore(StoreSuite):
    """Everything, and what is kept outlives the process."""

    durable = True
    settles_while_publishing = False
    recounted_steps = 40

    @pytest.fixture
    def place(self, places: Places) -> Any:
        return places.empty()

    def make_store(self, place: Any) -> SqlStore:
        return SqlStore(place, chance=lambda: 0.0)
