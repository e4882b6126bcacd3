"""Settled long enough: forgotten, in small bites."""

from collections.abc import Callable
from typing import Final

from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Writer

INTERVAL_SECONDS: Final = 60.0
BITE: Final = 500


class Retention:
    """Removes settled messages whose topic no longer keeps them. Live and parked ones stay for ever."""

    def __init__(self, store: Writer, *, clock: Clock, observer: Observer, clock_jumped: Callable[[], bool]) -> None:
        self._store = store
        self._clock_jumped = clock_jumped
        self._clock = clock
        self._observer = observer

    async def run_once(self) -> float | None:
        """One bite; the next follows at once while there is more."""
        if self._clock_jumped():
            return INTERVAL_SECONDS
        purged = await self._store.purge(self._clock.now(), BITE)
        if purged:
            self._observer.count("events", purged, event="purged")
        return 0.05 if purged >= BITE else INTERVAL_SECONDS
