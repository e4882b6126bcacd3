"""Natural batching of tasks: what several share is sent by a task that none of them can cancel."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from aftercommit.sdk.clients.gathering import OVERTAKE_SECONDS, Gathering, Parcel, Part
from aftercommit.sdk.clients.loads import VERBS

Carry = Callable[[Parcel], Awaitable[None]]
Late = Callable[[Part, bool], Exception]


class AsyncGatherings:
    """One gathering a verb and loop."""

    def __init__(self, carry: Carry, late: Late, clock: Callable[[], float]) -> None:
        self._ports = (carry, late, clock)
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, AsyncGathering]] = WeakKeyDictionary()

    async def gather(self, part: Part) -> None:
        """Bring a part to its verdict. Raises when its time is up first."""
        loop = asyncio.get_running_loop()
        if (by_verb := self._by_loop.get(loop)) is None:
            by_verb = self._by_loop[loop] = {verb: AsyncGathering(*self._ports) for verb in VERBS}
        await by_verb[part.load.verb].run(part)

    async def close(self) -> None:
        """Wait for what is under way on this loop."""
        for gathering in self._by_loop.get(asyncio.get_running_loop(), {}).values():
            await gathering.close()


class AsyncGathering:
    """The gathering of one verb on one loop."""

    def __init__(self, carry: Carry, late: Late, clock: Callable[[], float]) -> None:
        self._carry = carry
        self._late = late
        self._clock = clock
        self._core = Gathering()
        self._bells: dict[Part, asyncio.Future[None]] = {}
        # The loop itself would let a task be collected while it runs.
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None

    async def run(self, part: Part) -> None:
        """Send, or wait for the task that sends; comes back with the verdict on the part."""
        parcels = self._core.join(part)
        if len(parcels) == 1 and len(parcels[0].parts) == 1:
            # Nobody else is in it: it lives and dies with its caller, and needs no task.
            try:
                await self._carry(parcels[0])
            finally:
                self._send(self._core.returned())
            return
        bell = self._bells[part] = asyncio.get_running_loop().create_future()
        self._keep_watch()
        self._send(parcels)
        try:
            async with asyncio.timeout(max(part.deadline - self._clock(), 0)):
                await bell
        except TimeoutError:
            if part.verdict is None:
                raise self._late(part, self._core.leave(part)) from None
        finally:
            del self._bells[part]
            if part.verdict is None:
                self._core.leave(part)

    async def close(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._watch is not None:
            self._watch.cancel()

    def _send(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            task = asyncio.create_task(self._deliver(parcel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._watch is not None and not self._core.is_anyone_waiting:
            self._watch.cancel()
            self._watch = None

    async def _deliver(self, parcel: Parcel) -> None:
        try:
            await self._carry(parcel)
        except asyncio.CancelledError:
            # Only a loop that ends cancels this task, and with it everybody who waits.
            self._core.lost()
            for bell in self._bells_of(parcel):
                bell.cancel()
            raise
        except Exception as error:
            # Not one of the client's own: the transport's, or a mistake. It is everybody's in the parcel.
            parcel.fail(error)
        for bell in self._bells_of(parcel):
            bell.set_result(None)
        self._send(self._core.returned())

    def _bells_of(self, parcel: Parcel) -> list[asyncio.Future[None]]:
        bells = (self._bells.get(part) for part in parcel.parts)
        return [bell for bell in bells if bell is not None and not bell.done()]

    def _keep_watch(self) -> None:
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(OVERTAKE_SECONDS, self._overtake)

    def _overtake(self) -> None:
        self._watch = None
        self._send(self._core.overtake())
