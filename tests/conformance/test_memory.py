"""The memory store passes the store suite."""

from typing import Any

from aftercommit.stores.memory import MemoryStore
from tests.conformance.store_suite import StoreSuite


class TestMemoryStore(StoreSuite):
    """Everything but what outlives a process."""

    def make_store(self, place: Any) -> MemoryStore:
        return MemoryStore(chance=lambda: 0.0)
