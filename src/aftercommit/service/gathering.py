"""Natural batching: while one transaction is in flight, the next one gathers.

There is no timer. An idle service writes at once; a busy one puts everything that arrived during the last commit into
the next. Everybody's answer comes after the commit that holds their work. What cannot be done because a message's row
is locked waits in a side lane.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

from aftercommit.domain.commands import (
    Claim,
    ClaimChecks,
    ClaimExpired,
    ClaimPulls,
    ClaimSends,
    ClaimUnasked,
    Command,
    Prepare,
    Work,
)
from aftercommit.domain.errors import Overloaded, TemporarilyUnavailable
from aftercommit.domain.message import Claimed, Outcome
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Busy, Result, Writer
from aftercommit.service.side_lane import SideLane

BATCH_MAX: Final = 1000
QUEUE_MAX: Final = 20_000
_OTHER_CLAIMS: Final = frozenset({ClaimChecks, ClaimUnasked, ClaimPulls, ClaimExpired})


class _Entry:
    """One caller's work, all of it in the same transaction."""

    __slots__ = ("future", "work")

    def __init__(self, work: Sequence[Work], future: "asyncio.Future[list[Result]]") -> None:
        self.work = work
        self.future = future


class Gatherer:
    """Takes everybody's work to the store, in as few transactions as there is room for."""

    def __init__(self, store: Writer, *, clock: Clock, observer: Observer, queue_max: int = QUEUE_MAX) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._queue_max = queue_max
        self._waiting: deque[_Entry] = deque()
        self._waiting_items = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_scheduled = False
        self._side_lane = SideLane(store, clock=clock, observer=observer, batch_max=BATCH_MAX)

    @property
    def depth(self) -> int:
        """How many items wait for a transaction, or for somebody else's to let go of their row."""
        return self._waiting_items + self._side_lane.depth

    async def prepare(self, work: Sequence[Prepare]) -> list[Outcome]:
        """Store new messages. Shed first when too much waits, because everything else makes the backlog smaller."""
        if self.depth + len(work) > self._queue_max // 2:
            raise Overloaded("Too many messages wait to be written: prepare again later.")
        return cast(list[Outcome], await self._submit(work))

    async def apply(self, work: Sequence[Command]) -> list[Outcome]:
        """Apply commands; outcomes in order. Refused as `busy` is what stayed locked for 2 s."""
        if self.depth + len(work) > self._queue_max:
            raise Overloaded("Too much waits to be written: try again later.")
        return cast(list[Outcome], await self._submit(work))

    async def claim(self, claim: Claim) -> Claimed:
        """Take what is due."""
        return cast(Claimed, (await self._submit((claim,)))[0])

    async def drain(self) -> None:
        """Wait until everything that was handed in is answered."""
        while self._waiting or self._tasks or self._side_lane.task is not None:
            self._flush()
            side = self._side_lane.task
            await asyncio.gather(*self._tasks, *(() if side is None else (side,)), return_exceptions=True)

    def _submit(self, work: Sequence[Work]) -> "asyncio.Future[list[Result]]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Result]] = loop.create_future()
        if not work:
            future.set_result([])
            return future
        self._waiting.append(_Entry(work, future))
        self._waiting_items += len(work)
        self._flush_soon(loop)
        return future

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._flush_scheduled and self._has_room():
            # Deferred by one turn of the loop, so that what is being read meanwhile shares the transaction.
            self._flush_scheduled = True
            loop.call_soon(self._flush)

    def _has_room(self) -> bool:
        return len(self._tasks) < self._store.capabilities.writers_max

    def _flush(self) -> None:
        self._flush_scheduled = False
        while self._has_room() and (batch := self._next_batch()):
            task = asyncio.ensure_future(self._write(batch))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observer.alert("gatherer_failed", f"A batch was not answered: {error!r}.")
        self._flush_soon(task.get_loop())

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        items = 0
        while self._waiting and (not batch or items + len(self._waiting[0].work) <= BATCH_MAX):
            entry = self._waiting.popleft()
            self._waiting_items -= len(entry.work)
            if entry.future.cancelled() and _turn(entry):
                # Whoever wanted to take something is gone: what it would have taken is for somebody else.
                continue
            batch.append(entry)
            items += len(entry.work)
        # Claims last, sends before pulls: what the same batch confirms is sent, and pulled, in one write.
        batch.sort(key=_turn)
        return batch

    async def _write(self, batch: list[_Entry]) -> None:
        work = [item for entry in batch for item in entry.work]
        started = self._clock.monotonic()
        try:
            results = await self._store.write(work, self._clock.now())
        except TemporarilyUnavailable as error:
            _fail(batch, error)
        except Exception as error:
            # Something in the batch is a bug of ours: find out whose, so that the others are served.
            if len(batch) == 1:
                _fail(batch, error)
                return
            for entry in batch:
                await self._write([entry])
        else:
            self._answer(batch, results)
            self._observer.observe("batch_size", len(work))
            self._observer.observe("write_seconds", self._clock.monotonic() - started)

    def _answer(self, batch: list[_Entry], results: list[Result]) -> None:
        any_busy = any(type(each) is Busy for each in results)
        start = 0
        for entry in batch:
            end = start + len(entry.work)
            mine = results[start:end]
            if any_busy and any(type(each) is Busy for each in mine):
                self._side_lane.add(entry.work, mine, entry.future)
            elif not entry.future.done():
                # Cancelled: the caller went away. Its work is done all the same.
                entry.future.set_result(mine)
            start = end


def _turn(entry: _Entry) -> int:
    first = type(entry.work[0])
    return 1 if first is ClaimSends else 2 if first in _OTHER_CLAIMS else 0


def _fail(batch: list[_Entry], error: Exception) -> None:
    for entry in batch:
        if not entry.future.done():
            entry.future.set_exception(error)
