"""The clients' transports to a service in the same process: no socket, every fault the test wants."""

from concurrent.futures import CancelledError

from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.testing.callers import Caller
from aftercommit.testing.faults import Faults, verb_of
from aftercommit.testing.loop_thread import LoopThread
from aftercommit.testing.memory_node import MemoryNode


class Wire:
    """Carries requests to the node and answers back, both as far as the faults let them."""

    def __init__(self, thread: LoopThread, node: MemoryNode, faults: Faults) -> None:
        self._thread = thread
        self._node = node
        self._faults = faults

    async def carry(self, request: Request, caller: Caller) -> Response:
        """The answer, or NoAnswer."""
        self._faults.before(request)
        if not self._thread.running:
            raise NoAnswer("the in-memory service was stopped", perhaps_received=False)
        try:
            # The one request that is answered after a check.
            asks = verb_of(request) == "resolve"
            response = await caller.result_of(self._node.answer(request), errands=asks)
        except CancelledError:
            raise NoAnswer("the in-memory service was stopped meanwhile", perhaps_received=True) from None
        self._faults.after(request)
        return response


class InMemoryTransport:
    """`sdk.transports.Transport`."""

    def __init__(self, wire: Wire, caller: Caller) -> None:
        self._wire = wire
        self._caller = caller

    def send(self, request: Request) -> Response:
        """Carry it, holding the thread."""
        return run_now(self._wire.carry(request, self._caller))

    def close(self) -> None:
        """Nothing is open."""


class AsyncInMemoryTransport:
    """`sdk.transports.AsyncTransport`, for any loop."""

    def __init__(self, wire: Wire, caller: Caller) -> None:
        self._wire = wire
        self._caller = caller

    async def send(self, request: Request) -> Response:
        """Carry it, as a task."""
        return await self._wire.carry(request, self._caller)

    async def close(self) -> None:
        """Nothing is open."""


class Patience:
    """The time of one client: its pauses between repeats pass at once, and for itself only.

    So an unreachable service costs a test no time, and nothing gets due at the service by it.
    """

    def __init__(self) -> None:
        self._slept = 0.0

    def clock(self) -> float:
        """Seconds this client has waited."""
        return self._slept

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._slept += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Wait."""
        self._slept += seconds
