"""The one shape of everything that runs in the background: rounds with pauses, until told to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer

RunOnce: TypeAlias = Callable[[], Awaitable[float | None]]

GRACE_SECONDS: Final = 10.0
STALE_AFTER_SECONDS: Final = 60.0
BACK_OFF_MIN_SECONDS: Final = 0.5
BACK_OFF_MAX_SECONDS: Final = 30.0


class LoopState(StrEnum):
    """What a loop is doing. `BACKING_OFF`: its last round failed. `DIED`: its task ended and is being started anew."""

    STOPPED = "stopped"
    WAITING = "waiting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    DIED = "died"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How a loop is getting on. `last_success` is monotonic seconds, None before the first good round.

    `idle_seconds`: since the last good round, or since the start. `stale`: a round is overdue, or has been running or
    failing, for longer than the loop's `stale_after_seconds`; a loop that was not started is not stale.
    """

    state: LoopState
    last_success: float | None
    idle_seconds: float
    failures: int
    last_error: str | None
    stale: bool


class Loop:
    """Calls `run_once` again and again.

    `run_once` returns the seconds until it wants to run again: None for `interval_seconds`, 0 for at once. If it
    raises, that is counted and alerted, and the loop goes on after a back-off that doubles up to 30 s. `chance` draws
    numbers in [0, 1): the first round comes after a random part of the interval, so that nodes started together
    spread out.
    """

    def __init__(
        self,
        name: str,
        run_once: RunOnce,
        *,
        clock: Clock,
        observer: Observer,
        interval_seconds: float,
        chance: Callable[[], float],
        stale_after_seconds: float = STALE_AFTER_SECONDS,
    ) -> None:
        self.name = name
        self.run_once = run_once
        self._clock = clock
        self._observer = observer
        self._interval_seconds = interval_seconds
        self._chance = chance
        self._stale_after_seconds = stale_after_seconds
        self._state = LoopState.STOPPED
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._started_at = self._expected_at = 0.0
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._failures = 0

    def start(self) -> None:
        """Begin. Does nothing if it runs already; may be called again after `stop`."""
        if self._task is not None:
            return
        self._stopping.clear()
        self._finished.clear()
        self._woken.clear()
        self._failures = 0
        stagger = self._interval_seconds * self._chance()
        self._started_at = self._clock.monotonic()
        self._expected_at = self._started_at + stagger
        self._begin(stagger)

    def wake(self) -> None:
        """Run soon instead of waiting. A running round is followed by another; a back-off is not cut short."""
        self._woken.set()

    def request_stop(self) -> None:
        """Let the running round be the last one, without waiting for it."""
        self._stopping.set()
        self._woken.set()

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Finish the running round, then end. A round that takes longer than the grace period is cancelled.

        May be called again, also while another call waits. Must not be called from within the loop's own round.
        """
        task = self._task
        if task is None:
            return
        self.request_stop()
        if await self._clock.wait(self._finished, grace_seconds):
            return
        self._observer.alert(
            "loop_cancelled",
            f"Loop {self.name} did not finish its round within {grace_seconds:g} s of being stopped; it was cancelled.",
            loop=self.name,
        )
        task.cancel()
        await self._clock.wait(self._finished, grace_seconds)

    def progress(self) -> Progress:
        """How the loop is getting on, now."""
        now = self._clock.monotonic()
        since = self._started_at if self._last_success is None else max(self._last_success, self._started_at)
        running = self._task is not None
        return Progress(
            state=self._state,
            last_success=self._last_success,
            idle_seconds=now - since if running else 0.0,
            failures=self._failures,
            last_error=self._last_error,
            stale=running and now - self._expected_at > self._stale_after_seconds,
        )

    def _begin(self, pause_seconds: float) -> None:
        # Kept until it is done: the event loop itself holds tasks only weakly.
        self._task = asyncio.get_running_loop().create_task(self._run(pause_seconds), name=f"loop {self.name}")
        self._task.add_done_callback(self._ended)

    async def _run(self, pause_seconds: float) -> None:
        while True:
            await self._pause(pause_seconds)
            if self._stopping.is_set():
                return
            pause_seconds = await self._round()

    async def _pause(self, seconds: float) -> None:
        if self._failures:
            self._state = LoopState.BACKING_OFF
            await self._clock.wait(self._stopping, seconds)
        elif seconds > 0 and not self._woken.is_set():
            self._state = LoopState.WAITING
            await self._clock.wait(self._woken, seconds)
        else:
            # A loop that wants to run at once, always, must still let the rest of the process live.
            await asyncio.sleep(0)

    async def _round(self) -> float:
        """Run once; returns the seconds to pause."""
        self._state = LoopState.RUNNING
        self._woken.clear()
        self._observer.count("loop_runs", loop=self.name)
        try:
            wish = await self.run_once()
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            # Nobody cancelled this task: the round awaited something else that was cancelled.
            return self._failed("it awaited something that was cancelled")
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}")
        pause = self._interval_seconds if wish is None else max(wish, 0.0)
        self._failures = 0
        self._last_success = self._clock.monotonic()
        self._expected_at = self._last_success + pause
        return pause

    def _failed(self, why: str) -> float:
        self._failures += 1
        self._last_error = why
        pause = self._back_off()
        self._observer.count("loop_failures", loop=self.name)
        self._observer.alert(
            "loop_failed",
            f"A round of loop {self.name} failed ({why}), {self._failures} in a row now; next try in {pause:.1f} s.",
            loop=self.name,
        )
        return pause

    def _back_off(self) -> float:
        seconds = BACK_OFF_MIN_SECONDS * 2.0 ** min(self._failures - 1, 16)
        # Jittered downwards, so that the maximum is one.
        return min(seconds, BACK_OFF_MAX_SECONDS) * (1 - 0.2 * self._chance())

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._task = None
        self._state = LoopState.STOPPED
        if self._stopping.is_set():
            self._finished.set()
            return
        if error is not None and not isinstance(error, Exception):
            # The process itself is being ended (KeyboardInterrupt, SystemExit).
            self._finished.set()
            return
        self._state = LoopState.DIED
        self._failures += 1
        self._last_error = "its task was cancelled" if error is None else f"{type(error).__name__}: {error}"
        self._observer.count("loop_failures", loop=self.name)
        self._observer.alert(
            "loop_died", f"The task of loop {self.name} ended ({self._last_error}); it is started anew.", loop=self.name
        )
        self._begin(self._back_off())


class Supervisor:
    """The loops of a node. Start and stop go in the order given; put first what takes up new work."""

    def __init__(self, loops: Iterable[Loop] = ()) -> None:
        self._loops: dict[str, Loop] = {}
        for loop in loops:
            self.add(loop)

    def add(self, loop: Loop) -> None:
        """Take care of another loop. Its name must be new."""
        if loop.name in self._loops:
            raise ValueError(f"There is a loop named {loop.name!r} already; give this one another name.")
        self._loops[loop.name] = loop

    def start(self) -> None:
        """Start every loop. Those that run already are left alone."""
        for loop in self._loops.values():
            loop.start()

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let no loop begin another round, then wait until the running rounds are over or the grace period is."""
        for loop in self._loops.values():
            loop.request_stop()
        await asyncio.gather(*(loop.stop(grace_seconds) for loop in self._loops.values()))

    def report(self) -> dict[str, Progress]:
        """How each loop is getting on, by name."""
        return {name: loop.progress() for name, loop in self._loops.items()}

    def healthy(self) -> bool:
        """Whether no loop is stale."""
        return not any(progress.stale for progress in self.report().values())


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
