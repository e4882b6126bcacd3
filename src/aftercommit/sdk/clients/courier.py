"""Making calls, with their repeats, alone or gathered: written once, run blocking or on asyncio over its ports."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aftercommit.sdk.clients.answers import BatchResult, Response
from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.clients.exchange import Done, Line, NoAnswer, Patience, Request
from aftercommit.sdk.clients.gathering import Parcel, Part
from aftercommit.sdk.clients.loads import Load, Room, results_of
from aftercommit.sdk.errors import AfterCommitClientError, Unavailable
from aftercommit.wire import MessageStatus

T = TypeVar("T")

Send = Callable[[Request], Awaitable[Response]]
Sleep = Callable[[float], Awaitable[None]]
# Comes back when the part has its verdict; raises when its caller's time is up.
Gather = Callable[[Part], Awaitable[None]]


class Courier:
    """Makes calls over one line, each by itself unless `gather` is set."""

    def __init__(self, line: Line, *, send: Send, sleep: Sleep) -> None:
        self.gather: Gather | None = None
        self._line = line
        self._send = send
        self._sleep = sleep

    async def make(self, call: Call[T], retries_max: int | None = None, deadline: float | None = None) -> T:
        """The answer to one call. Raises what `Exchange.next` does."""
        exchange = self._line.begin(call, retries_max, deadline)
        while True:
            outcome: Response | NoAnswer
            try:
                outcome = await self._send(exchange.request())
            except NoAnswer as failure:
                outcome = failure
            step = exchange.next(outcome)
            if isinstance(step, Done):
                return step.answer
            await self._sleep(step.seconds)

    async def one(self, load: Load) -> MessageStatus:
        """The answer to a load of one item. Raises what the single call does, and repeats it as often."""
        patience = Patience(self._line, self._line.retries_max, self._line.deadline())
        while True:
            [result] = await self._share(load, patience.deadline)
            if not isinstance(result.error, Unavailable):
                return result.unwrap()
            await self._sleep(patience.pause(result.error))

    async def many(self, loads: Iterable[Load]) -> list[BatchResult]:
        """The results of every item, in order; one load after the other, each within the time of a call."""
        return [result for load in loads for result in await self._share(load, self._line.deadline())]

    async def carry(self, parcel: Parcel) -> None:
        """Send a parcel and settle it, or have it fail."""
        try:
            call = parcel.call()
            parcel.settle(call, await self.make(call, deadline=parcel.deadline))
        except AfterCommitClientError as error:
            parcel.fail(error)

    def late(self, part: Part, was_waiting: bool) -> AfterCommitClientError:
        """The error of a caller whose time was up before there was a verdict."""
        return self._line.unreachable(part.load.alone(), NoAnswer("time was up", perhaps_received=not was_waiting))

    async def _share(self, load: Load, deadline: float) -> list[BatchResult]:
        # What no batch can hold goes alone, for the service to judge.
        if self.gather is None or not Room().take(load.items):
            return await self._alone(load, deadline)
        part = Part(load, deadline)
        await self.gather(part)
        match part.verdict:
            case list() as results:
                return results
            case Exception() as error:
                raise error
            case _:
                # Apart.
                return await self._alone(load, deadline)

    async def _alone(self, load: Load, deadline: float) -> list[BatchResult]:
        call = load.alone()
        return results_of(call, await self.make(call, deadline=deadline))
