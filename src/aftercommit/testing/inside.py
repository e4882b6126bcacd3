"""The test's own line to the service: no fault cuts it, and it sees every application's messages."""

from typing import Final, TypeVar

from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.clients.exchange import Done, Line
from aftercommit.sdk.messages import StoredMessage
from aftercommit.testing.callers import Caller
from aftercommit.testing.memory_node import MemoryNode

T = TypeVar("T")

# A name that a node without keys answers to; nothing is ever sent there.
URL: Final = "http://localhost"


class Inside:
    """Calls of the API, made by the test itself: through the same door as everybody's, answered once."""

    def __init__(self, node: MemoryNode, caller: Caller) -> None:
        self.node = node
        self.caller = caller

    async def make(self, call: Call[T], app: str | None = None) -> T:
        """The answer; raises what a client would. Without an application it is the operator who asks."""
        exchange = Line(base_url=URL, app=app).begin(call, 0)
        step = exchange.next(await self.caller.result_of(self.node.answer(exchange.request())))
        if not isinstance(step, Done):
            raise TypeError(f"{call.path} was to be answered at once, without repeats.")
        return step.answer

    async def messages(self) -> list[StoredMessage]:
        """Every message, in the order in which they were prepared."""
        return await self.caller.result_of(self.node.everything())
