"""The SQL store passes the hot path's part of the store suite through aiomysql, its second driver for MySQL."""

from collections.abc import Iterator
from typing import Any

import pytest

from aftercommit.stores.sql import SqlStore
from tests.conformance.sql_places import Places, empty_places
from tests.conformance.store_suite_claims import ClaimSuite
from tests.conformance.store_suite_dispatch import DispatchSuite
from tests.conformance.store_suite_intake import IntakeSuite
from tests.servers.mariadb import MariaDB


@pytest.fixture(scope="module")
def places(mariadb: MariaDB) -> Iterator[Places]:
    """A database for this module, reached through the other driver."""
    yield from empty_places(mariadb.database(), driver="aiomysql")


class TestAiomysqlStore(
    IntakeSuite,
    ClaimSuite,
    DispatchSuite,
):
    """Statements are one driver's or the other's; what the store does with them is shown on MariaDB as a whole."""

    durable = True
    settles_while_publishing = False

    @pytest.fixture
    def place(self, places: Places) -> Any:
        return places.empty()

    def make_store(self, place: Any) -> SqlStore:
        store = SqlStore(place, chance=lambda: 0.0)
        assert place.options == {"driver": "aiomysql"}
        return store
