"""What a handler gets: the request, already read and judged, and the node it came to."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from aftercommit.service import Services
from aftercommit.service.caller import Caller

Body = TypeVar("Body")
Result = TypeVar("Result")

Headers: TypeAlias = Mapping[bytes, bytes]
# ASGI's own type is a dictionary of anything.
Receive: TypeAlias = Callable[[], Awaitable[Any]]

DISCONNECT: Final = "http.disconnect"


class ClientGone(Exception):
    """The client closed the connection before it could be answered; nobody is there to hear."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What every handler shares. `openapi` and `docs` are the finished documents."""

    services: Services
    render_metrics: Callable[[], Awaitable[bytes]]
    name: str
    version: str
    openapi: bytes
    docs: bytes


class Call(Generic[Body]):
    """One request. `path` holds the parameters of the path in order, `query` those of the query string."""

    __slots__ = ("_receive", "body", "caller", "headers", "path", "query")

    def __init__(
        self,
        *,
        caller: Caller,
        path: tuple[str, ...],
        query: Mapping[str, str],
        headers: Headers,
        body: Body,
        receive: Receive,
    ) -> None:
        self.caller = caller
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self._receive = receive

    async def while_connected(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`, which is cancelled when the client goes away: what it would take, nobody would get."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._disconnected())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientGone
            return working.result()
        finally:
            leaving.cancel()
            working.cancel()

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != DISCONNECT:
            continue
