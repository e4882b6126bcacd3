"""The node's clock follows the database's; a jump is told, and what deletes waits until it is over."""

from collections.abc import Callable
from typing import Final

from aftercommit.ports.observer import Observer

INTERVAL_SECONDS: Final = 15.0


class Timekeeper:
    """Compares the two clocks again and again. `refresh` takes the database's time and returns the difference (ms)."""

    def __init__(
        self,
        *,
        database_ms: Callable[[], int],
        refresh: Callable[[int], int],
        jumped: Callable[[], bool],
        observer: Observer,
    ) -> None:
        self._database_ms = database_ms
        self._refresh = refresh
        self._jumped = jumped
        self._observer = observer

    async def run_once(self) -> float | None:
        """One comparison."""
        drift_ms = self._refresh(self._database_ms())
        if self._jumped():
            detail = f"The database's clock is {drift_ms / 1000:+.0f} s from this node's: retention waits."
            self._observer.alert("clock_jumped", detail)
        return INTERVAL_SECONDS
