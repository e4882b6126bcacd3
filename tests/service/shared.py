"""A memory store as several nodes would share it: what one of them registers, the others do not see by themselves."""

import asyncio
from collections.abc import Sequence

from aftercommit.domain.catalog import Catalog, CatalogEdit
from aftercommit.domain.commands import Claim, Work
from aftercommit.domain.lifecycle import Status
from aftercommit.ports.store import Busy, Edit, NodeRecord, Result, StoreCapabilities
from aftercommit.stores.memory import MemoryStore


class SharedStore(MemoryStore):
    """The database as one node sees it. Somebody else holds the rows of `locked`."""

    capabilities = StoreCapabilities(writers_max=1, shared=True)

    def __init__(self) -> None:
        super().__init__(chance=lambda: 0.0)
        self.locked: set[str] = set()
        self.refreshes = 0
        self.claims: list[tuple[int, Claim]] = []
        self.away: Exception | None = None
        # Refreshes wait until it is open.
        self.gate = asyncio.Event()
        self.gate.set()
        self._seen = Catalog.of()

    @property
    def catalog(self) -> Catalog:
        return self._seen

    async def write(self, work: Sequence[Work], now: int) -> list[Result]:
        self.claims += [(now, each) for each in work if isinstance(each, Claim)]
        done = iter(await super().write([each for each in work if _id(each) not in self.locked], now))
        return [
            Busy(id=found, status=Status.PENDING_CONFIRMATION)
            if (found := _id(each)) is not None and found in self.locked
            else next(done)
            for each in work
        ]

    async def edit_catalog(self, edit: Edit, now: int) -> CatalogEdit:
        edited = await super().edit_catalog(edit, now)
        self._seen = edited.catalog
        return edited

    async def edit_elsewhere(self, edit: Edit, now: int) -> None:
        """An edit by another node: it stands in the database, and this node has not seen it."""
        await super().edit_catalog(edit, now)

    def forget(self, seen: Catalog) -> None:
        """See the catalogue as it was then."""
        self._seen = seen

    async def refresh_catalog(self) -> None:
        self.refreshes += 1
        if self.away is not None:
            raise self.away
        seen = super().catalog
        await self.gate.wait()
        self._seen = seen


class Nodes:
    """`ports.store.Shared` in memory: the nodes of one database. While `away` is set, it is not there."""

    def __init__(self) -> None:
        self.records: dict[str, NodeRecord] = {}
        self.beats: list[NodeRecord] = []
        self.away: Exception | None = None

    async def beat(self, record: NodeRecord) -> None:
        """Remember it."""
        self._require_there()
        self.beats.append(record)
        self.records[record.id] = record

    async def retire(self, node_id: str) -> None:
        """Forget it."""
        self._require_there()
        self.records.pop(node_id, None)

    async def nodes(self) -> list[NodeRecord]:
        """Everybody."""
        self._require_there()
        return sorted(self.records.values(), key=lambda record: record.started_at)

    async def clock_ms(self) -> int:
        """Nobody asks."""
        raise AssertionError("The tests' clock is asked for the time.")

    def _require_there(self) -> None:
        if self.away is not None:
            raise self.away


def _id(work: Work) -> str | None:
    return None if isinstance(work, Claim) else work.id
