"""The seam between the client and the network: two methods, blocking or awaitable."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request


class Transport(Protocol):
    """Sends one request and returns its answer, whatever its status. Follows no redirect and repeats nothing.

    Raises `NoAnswer` if there is none. May be used by several threads at a time.
    """

    def send(self, request: Request) -> Response: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same, awaitable. May be used by several tasks of one loop at a time."""

    async def send(self, request: Request) -> Response: ...

    async def close(self) -> None: ...


Scripted: TypeAlias = Response | NoAnswer | Callable[[Request], Response]


class ScriptedTransport:
    """For tests: answers from a list, in order, and remembers what was sent. The last function answers for ever."""

    def __init__(self, script: Iterable[Scripted] = ()) -> None:
        self._script = deque(script)
        self.requests: list[Request] = []
        self.closed = False

    def send(self, request: Request) -> Response:
        """Take the next line of the script. Raises AssertionError when there is none."""
        self.requests.append(request)
        if not self._script:
            raise AssertionError(f"Nothing is left in the script for {request.method} {request.url}.")
        line = self._script[0] if len(self._script) == 1 and callable(self._script[0]) else self._script.popleft()
        if isinstance(line, NoAnswer):
            raise line
        return line if isinstance(line, Response) else line(request)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class AsyncScriptedTransport:
    """The same, awaitable."""

    def __init__(self, script: Iterable[Scripted] = ()) -> None:
        self._inner = ScriptedTransport(script)

    @property
    def requests(self) -> list[Request]:
        """What was sent."""
        return self._inner.requests

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._inner.closed

    async def send(self, request: Request) -> Response:
        """Take the next line of the script."""
        return self._inner.send(request)

    async def close(self) -> None:
        """Remember that it was closed."""
        self._inner.close()
