"""Work on many lanes at the same time, so that a slow destination delays nobody but itself."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.service.breaker import Breaker
from aftercommit.service.lanes import Lanes
from aftercommit.service.loop import GRACE_SECONDS

AT_ONCE_MAX: Final = 8


class Crew:
    """Calls `work` with each lane it is given: eight at a time, in the order they came, no lane twice at a time.

    A lane with more to do comes back at the end of the line, so that however much waits in one, the others have their
    turn. If `work` raises, that is alerted, and its lane alone waits, 0.5 s first and 15 s at most. `finished` is
    called whenever a lane is done with, because when it is due next may have changed.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[int], Awaitable[None]],
        *,
        lanes: Lanes,
        clock: Clock,
        observer: Observer,
        finished: Callable[[], None],
    ) -> None:
        self._name = name
        self._work = work
        self._lanes = lanes
        self._clock = clock
        self._observer = observer
        self._finished = finished
        self._failing = Breaker(clock=clock, failures_max=1)
        # In the order they came.
        self._waiting: dict[int, None] = {}
        self._busy: dict[int, asyncio.Task[None]] = {}
        # Given once more while they were worked on.
        self._again: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def give(self, lanes: Iterable[int]) -> None:
        """Have these lanes worked on."""
        for lane in lanes:
            if not self._failing.closed(lane):
                self._expect_in(lane, self._failing.wait_seconds(lane))
            elif lane in self._busy:
                self._again.add(lane)
            else:
                self._waiting[lane] = None
        self._fill()

    async def drain(self) -> None:
        """Begin nothing more, and wait for what is under way; what takes longer than the grace period is cancelled."""
        self._waiting.clear()
        if await self._clock.wait(self._idle, GRACE_SECONDS):
            return
        self._observer.alert(
            "lanes_cancelled", f"Work of {self._name} on {len(self._busy)} lanes did not end in time: it was cancelled."
        )
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        while self._waiting and len(self._busy) < AT_ONCE_MAX:
            lane = next(iter(self._waiting))
            del self._waiting[lane]
            self._idle.clear()
            self._busy[lane] = asyncio.create_task(self._work_on(lane), name=f"{self._name} {lane}")

    async def _work_on(self, lane: int) -> None:
        try:
            await self._work(lane)
        except Exception as error:
            self._failing.failed(lane)
            wait = self._failing.wait_seconds(lane)
            why = f"{type(error).__name__}: {error}"
            self._observer.alert(
                "lane_failed", f"Work of {self._name} on lane {lane} failed ({why}); next try in {wait:g} s."
            )
            self._expect_in(lane, wait)
        else:
            self._failing.succeeded(lane)
        finally:
            self._done(lane)

    def _done(self, lane: int) -> None:
        del self._busy[lane]
        if lane in self._again:
            self._again.remove(lane)
            self._expect_in(lane, 0.0)
        self._fill()
        if not self._busy:
            self._idle.set()
        self._finished()

    def _expect_in(self, lane: int, seconds: float) -> None:
        self._lanes.expect(lane, self._clock.now() + round(seconds * 1000))
