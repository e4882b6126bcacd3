"""What other nodes have registered: looked up where something is missing here, and told to whom it concerns."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from aftercommit.domain.catalog import Catalog
from aftercommit.ports.clock import Clock
from aftercommit.ports.store import Writer

# However many miss something, the database is asked so seldom.
REFRESH_AT_MOST_EVERY_SECONDS: Final = 0.05
# How soon an edit of another node is seen at the latest.
INTERVAL_SECONDS: Final = 1.0

# Called with the catalogue as it was told of last, and as it is now.
Changed: TypeAlias = Callable[[Catalog, Catalog], None]


class Freshness:
    """Brings this node's view of the catalogue up to date. Costs nothing where no other node can edit it."""

    def __init__(self, store: Writer, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._changed: Changed | None = None
        self._told = store.catalog
        self._running = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        # How many refreshes have begun, which of them was the last that went well, and when one last ended.
        self._begun = 0
        self._good = 0
        self._ended_at: float | None = None

    @property
    def is_shared(self) -> bool:
        """Whether anybody else may edit the catalogue."""
        return self._store.capabilities.shared

    def follow(self, changed: Changed) -> None:
        """From now on, tell of what a refresh shows to be different."""
        self._changed = changed
        self._told = self._store.catalog

    @property
    def mark(self) -> int:
        """This moment, for `refresh`."""
        return self._begun

    async def refresh(self, since: int | None = None) -> None:
        """See what was registered until now, or at least until `since`, a `mark` of before.

        At most one refresh runs at a time, and one each 50 ms; all who come meanwhile wait for the same next one.
        Raises `TemporarilyUnavailable` where the database cannot be read.
        """
        if not self.is_shared or (since is not None and self._good > since):
            return
        if self._next is None:
            self._next = asyncio.create_task(self._refresh_in_turn())
        # Who goes away leaves the refresh to the others who wait for it.
        await asyncio.shield(self._next)

    async def _refresh_in_turn(self) -> None:
        async with self._running:
            if self._ended_at is not None:
                pause = self._ended_at + REFRESH_AT_MOST_EVERY_SECONDS - self._clock.monotonic()
                await self._clock.wait(asyncio.Event(), pause)
            # Whoever comes from now on may know of something that this refresh does not see.
            self._next = None
            self._begun += 1
            ordinal = self._begun
            try:
                await self._store.refresh_catalog()
            finally:
                self._ended_at = self._clock.monotonic()
            self._good = ordinal
            self._tell()

    def _tell(self) -> None:
        before, now = self._told, self._store.catalog
        if now is not before:
            self._told = now
            if self._changed is not None:
                self._changed(before, now)
