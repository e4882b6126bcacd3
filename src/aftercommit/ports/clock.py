"""The clock port: the only way time comes in."""

import asyncio
from typing import Protocol


class Clock(Protocol):
    """What the services know of time. Nothing that is unsafe when late may depend on it."""

    def now(self) -> int:
        """Milliseconds since 1970 UTC, by the database's clock. Never goes backwards within a process."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, for durations. Only ever advances."""

    async def wait(self, event: asyncio.Event, timeout_seconds: float) -> bool:
        """Wait until `event` is set (True) or the time has passed (False). Does not clear the event."""
