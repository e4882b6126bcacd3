"""A clock that stands still until a test moves it."""

import asyncio
from typing import Final

# 2025-01-01T00:00:00Z, where no test says otherwise.
START_MS: Final = 1_735_689_600_000
# How often `run` lets everybody else go on at each stop. Each turn advances every task that can go on by one step.
TURNS: Final = 50


class ManualClock:
    """`ports.clock.Clock` in the hands of a test: `wait` returns when its event is set or `advance` reaches its time.

    Nothing depends on the real time: waiters are woken in the order of their times, then in the order they came.

        clock = ManualClock(start_ms=0)
        clock.advance(1.5)
        assert (clock.now(), clock.monotonic()) == (1500, 1.5)
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self._start_ms = start_ms
        # Whole microseconds: ten times a tenth of a second is one second.
        self._elapsed_us = 0
        self._arrivals = 0
        self._alarms: dict[int, tuple[int, asyncio.Timeout]] = {}

    @property
    def waiters(self) -> int:
        """How many are inside `wait`."""
        return len(self._alarms)

    @property
    def next_alarm_seconds(self) -> float | None:
        """How long until the time of the next waiter comes; None if nobody waits."""
        due = self._next_due()
        return None if due is None else max(due - self._elapsed_us, 0) / 1_000_000

    def now(self) -> int:
        """Milliseconds since 1970 UTC: the start plus everything advanced."""
        return self._start_ms + self._elapsed_us // 1000

    def monotonic(self) -> float:
        """Seconds advanced since the clock was made."""
        return self._elapsed_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Move time on and wake the waiters whose time has come; they go on at the next `await` of the test.

        All of them then see the new time. `run` stops at each one's own time instead.
        """
        if seconds < 0:
            raise ValueError(f"A clock cannot be advanced by {seconds} seconds: time only goes forward.")
        self._move_to(self._elapsed_us + _microseconds(seconds))

    async def run(self, seconds: float) -> None:
        """Move time on from waiter to waiter, letting each go on (and wait again) at its own time."""
        end = self._elapsed_us + _microseconds(seconds)
        await self.settle()
        while (due := self._next_due()) is not None and due <= end:
            self._move_to(due)
            await self.settle()
        self._move_to(end)
        await self.settle()

    async def settle(self) -> None:
        """Let every task that can go on without time or input go on (a bounded number of steps)."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, timeout_seconds: float) -> bool:
        """Wait until `event` is set (True) or the clock was advanced by `timeout_seconds` (False)."""
        if event.is_set() or timeout_seconds <= 0:
            return event.is_set()
        self._arrivals += 1
        arrival = self._arrivals
        try:
            async with asyncio.timeout(None) as alarm:
                self._alarms[arrival] = (self._elapsed_us + _microseconds(timeout_seconds), alarm)
                return await event.wait()
        except TimeoutError:
            return event.is_set()
        finally:
            self._alarms.pop(arrival, None)

    def _next_due(self) -> int | None:
        return min((due for due, _ in self._alarms.values()), default=None)

    def _move_to(self, elapsed_us: int) -> None:
        self._elapsed_us = max(elapsed_us, self._elapsed_us)
        come = sorted((due, arrival) for arrival, (due, _) in self._alarms.items() if due <= elapsed_us)
        for _, arrival in come:
            _, alarm = self._alarms.pop(arrival)
            # A time in the past lets the time-out fire in the next turn of the event loop.
            alarm.reschedule(0.0)


def _microseconds(seconds: float) -> int:
    # A wait shorter than the clock's grain still waits: it must not return in the moment it began.
    return max(round(seconds * 1_000_000), 1) if seconds > 0 else 0
