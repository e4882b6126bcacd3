"""The SQLite store passes the store suite."""

from pathlib import Path
from typing import Any

from aftercommit.stores.sqlite import SqliteStore
from tests.conformance.store_suite import StoreSuite


class TestSqliteStore(StoreSuite):
    """Everything, and what is kept outlives the process."""

    durable = True

    def make_store(self, place: Any) -> SqliteStore:
        return SqliteStore(Path(place) / "messages.db", chance=lambda: 0.0)
