"""Where work waits whose message's row somebody else has locked, so that it holds up nobody but itself."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from aftercommit.domain.commands import Work
from aftercommit.domain.errors import TemporarilyUnavailable
from aftercommit.domain.lifecycle import Refusal
from aftercommit.domain.message import Outcome
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Busy, Result, Writer

# Between the tries of one caller's work; the last one goes on. A row is mostly locked for one commit of somebody else.
PAUSES_SECONDS: Final = (0.002, 0.004, 0.008, 0.016, 0.032, 0.05)
BUSY_MAX_SECONDS: Final = 2.0


class Stuck(msgspec.Struct, kw_only=True, eq=False):
    """One caller's work. Everything in `results` is an answer but what `open` names, the indices of what is `Busy`.

    `until` and `due` are monotonic seconds: when it is given up, and when it is tried next.
    """

    work: Sequence[Work]
    results: list[Result]
    future: "asyncio.Future[list[Result]]"
    open: list[int]
    until: float
    due: float
    tries: int = 0


class SideLane:
    """Tries locked work again, in one write at a time, until it is done or 2 s have passed since it was met.

    What one caller asks of one message is tried in its order: its row is locked for all of it, or for none.
    """

    def __init__(self, store: Writer, *, clock: Clock, observer: Observer, batch_max: int) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._batch_max = batch_max
        self._waiting: list[Stuck] = []
        self._depth = 0
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """How many items wait for their rows."""
        return self._depth

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends when nothing waits here any more; None if nothing does."""
        return self._task

    def add(self, work: Sequence[Work], results: list[Result], future: "asyncio.Future[list[Result]]") -> None:
        """Answer `future` with `results` when nothing of them is busy any more, at the latest after 2 s."""
        now = self._clock.monotonic()
        stuck = Stuck(
            work=work,
            results=results,
            future=future,
            open=_busy(results),
            until=now + BUSY_MAX_SECONDS,
            due=now + PAUSES_SECONDS[0],
        )
        self._waiting.append(stuck)
        self._depth += len(stuck.open)
        self._came.set()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        while self._waiting:
            self._came.clear()
            wait = min(each.due for each in self._waiting) - self._clock.monotonic()
            if wait > 0:
                # Whoever comes meanwhile is due before those who have waited longer.
                await self._clock.wait(self._came, wait)
            else:
                await self._try(self._take_due())
                self._settle()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observer.alert("gatherer_failed", f"Work on locked messages was not tried again: {error!r}.")
            waiting, self._waiting, self._depth = self._waiting, [], 0
            for each in waiting:
                _fail(each, error)

    def _take_due(self) -> list[Stuck]:
        now = self._clock.monotonic()
        batch: list[Stuck] = []
        items = 0
        for each in sorted(self._waiting, key=_due):
            items += len(each.open)
            if each.due > now or (batch and items > self._batch_max):
                break
            batch.append(each)
        return batch

    async def _try(self, batch: list[Stuck]) -> None:
        places = [(each, index) for each in batch for index in each.open]
        try:
            results = await self._store.write([each.work[index] for each, index in places], self._clock.now())
        except TemporarilyUnavailable:
            # What else these callers asked for is done, and they shall hear of it: this is tried again as if locked.
            results = [each.results[index] for each, index in places]
        except Exception as error:
            # Something in the batch is a bug of ours: find out whose, so that the others are served.
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for each in batch:
                await self._try([each])
            return
        for (each, index), result in zip(places, results, strict=True):
            each.results[index] = result
        now = self._clock.monotonic()
        for each in batch:
            each.open = _busy(each.results)
            each.tries = min(each.tries + 1, len(PAUSES_SECONDS) - 1)
            each.due = min(now + PAUSES_SECONDS[each.tries], each.until)

    def _settle(self) -> None:
        now = self._clock.monotonic()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.open and now < each.until:
                self._waiting.append(each)
            elif not each.future.done():
                # Done already: its caller went away, or it failed.
                each.future.set_result([_outcome(result) for result in each.results])
        self._depth = sum(len(each.open) for each in self._waiting)


def _due(stuck: Stuck) -> float:
    return stuck.due


def _busy(results: Sequence[Result]) -> list[int]:
    return [index for index, each in enumerate(results) if isinstance(each, Busy)]


def _fail(stuck: Stuck, error: BaseException) -> None:
    stuck.open = []
    if not stuck.future.done():
        stuck.future.set_exception(error)


def _outcome(result: Result) -> Result:
    if not isinstance(result, Busy):
        return result
    detail = f"Message {result.id} is locked by somebody else: nothing was changed, try again."
    return Outcome(id=result.id, status=result.status, refusal=Refusal.BUSY, detail=detail)
