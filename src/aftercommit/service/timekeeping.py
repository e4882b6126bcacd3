"""The node's clock follows the database's; a jump is told, and what deletes waits until it is over."""

from collections.abc import Awaitable, Callable
from typing import Final

from aftercommit.domain.errors import TemporarilyUnavailable
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer

INTERVAL_SECONDS: Final = 15.0


class Timekeeper:
    """Compares the two clocks again and again.

    `database_ms` asks the database for its time. `refresh` takes what it must be now and returns the difference (ms).
    """

    def __init__(
        self,
        *,
        database_ms: Callable[[], Awaitable[int]],
        refresh: Callable[[int], int],
        jumped: Callable[[], bool],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._database_ms = database_ms
        self._refresh = refresh
        self._jumped = jumped
        self._clock = clock
        self._observer = observer
        self._unread = False

    async def run_once(self) -> float | None:
        """One comparison, or none where the database does not answer: the node's clock goes on by itself."""
        asked_at = self._clock.monotonic()
        try:
            told_ms = await self._database_ms()
        except TemporarilyUnavailable as error:
            # Told once per outage. That the database is away is everybody's trouble, and told by others.
            if not self._unread:
                self._observer.alert("clock_unread", f"The database did not tell its time: {error.detail}")
            self._unread = True
            return INTERVAL_SECONDS
        self._unread = False
        # The answer was as long on its way as the question, as far as anybody can tell.
        passed_ms = round((self._clock.monotonic() - asked_at) * 500)
        drift_ms = self._refresh(told_ms + passed_ms)
        if self._jumped():
            detail = f"The database's clock is {drift_ms / 1000:+.0f} s from this node's: retention waits."
            self._observer.alert("clock_jumped", detail)
        return INTERVAL_SECONDS
