"""The clock of a running node: follows the database's clock and never goes backwards."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import uuid_utils

JUMP_MS: Final = 60_000
# While it corrects a difference, the clock runs this much faster or slower than real time.
SLEW: Final = 0.5


def wall_ms() -> int:
    """This machine's own clock, milliseconds since 1970 UTC. Only a first guess until the database was asked."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUIDv7 as the protocol writes ids: this machine's time, and chance."""
    return str(uuid_utils.uuid7())


class SystemClock:
    """`ports.clock.Clock`: an offset taken at start plus the monotonic clock, so a set wall clock changes nothing.

    Whoever asks the database for its time calls `refresh` with it, and first before anybody has asked `now`: until
    then the clock may still step to either side. Belongs to one event loop.
    """

    def __init__(
        self, *, read_wall_ms: Callable[[], int] = wall_ms, read_monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read_monotonic = read_monotonic
        self._seen_at = self._aimed_at = read_monotonic()
        self._shown_ms = self._aim_ms = float(read_wall_ms())
        self._asked = False
        self._jumped = False

    @property
    def jumped(self) -> bool:
        """Whether the last refresh found the two clocks more than 60 s apart: a reason to pause what deletes."""
        return self._jumped

    def now(self) -> int:
        """Milliseconds since 1970 UTC, by the database's clock as last heard. Never goes backwards."""
        self._asked = True
        return int(self._show(self._read_monotonic()))

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, for durations. Only ever advances."""
        return self._read_monotonic()

    def refresh(self, database_ms: int) -> int:
        """Follow `database_ms`, the database's time at this moment; returns how far ahead of ours it is (ms).

        Small differences are worked off by running faster or slower, up to 50 %. Over 60 s (a resumed machine, another
        database) the clock steps if that leads forward; backwards it only slows down, because due times already handed
        out must not come twice. A node that started far ahead is put right by a restart.
        """
        monotonic = self._read_monotonic()
        shown = self._show(monotonic)
        drift = database_ms - int(shown)
        self._aim_ms, self._aimed_at = float(database_ms), monotonic
        self._jumped = abs(drift) > JUMP_MS
        if not self._asked or drift > JUMP_MS:
            self._shown_ms = float(database_ms)
        return drift

    async def wait(self, event: asyncio.Event, timeout_seconds: float) -> bool:
        """Wait until `event` is set (True) or the time has passed (False). Does not clear the event."""
        try:
            async with asyncio.timeout(max(timeout_seconds, 0)):
                return await event.wait()
        except TimeoutError:
            # Both may have happened in the same turn of the event loop; what was set counts.
            return event.is_set()

    def _show(self, monotonic: float) -> float:
        elapsed = max(monotonic - self._seen_at, 0.0) * 1000
        aim = self._aim_ms + (monotonic - self._aimed_at) * 1000
        behind = aim - (self._shown_ms + elapsed)
        slew = elapsed * SLEW
        self._shown_ms += elapsed + min(max(behind, -slew), slew)
        self._seen_at = monotonic
        return self._shown_ms
