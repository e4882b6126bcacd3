"""The seam between the client and the network: two methods, blocking or awaitable."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import httpx2

from aftercommit.sdk.answers import Response
from aftercommit.sdk.exchange import NoAnswer, Request

# Errors that come before the first byte of a request was written.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_ERRNO = re.compile(r"^\[Errno \d+\] ")


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


class HttpTransport:
    """Over httpx2. Connections are opened when first needed and kept.

    Give a client of your own to choose proxies, certificates or limits; without one, proxies of the environment are
    not used, because the service is expected near by. The time of a request limits each step of it, not their sum.
    """

    def __init__(self, client: httpx2.Client | None = None) -> None:
        self._client = client or httpx2.Client(trust_env=False, follow_redirects=False)

    def send(self, request: Request) -> Response:
        """Send it."""
        try:
            answer = self._client.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=request.body or None,
                timeout=request.timeout_seconds,
            )
        except httpx2.RequestError as error:
            raise _no_answer(error) from error
        return _response(answer)

    def close(self) -> None:
        """Close every connection. May be called twice."""
        self._client.close()


class AsyncHttpTransport:
    """Over httpx2 on asyncio. The time of a request limits all of it."""

    def __init__(self, client: httpx2.AsyncClient | None = None) -> None:
        self._client = client or httpx2.AsyncClient(trust_env=False, follow_redirects=False)

    async def send(self, request: Request) -> Response:
        """Send it."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._client.request(
                    request.method,
                    request.url,
                    headers=dict(request.headers),
                    content=request.body or None,
                    timeout=request.timeout_seconds,
                )
        except httpx2.RequestError as error:
            raise _no_answer(error) from error
        except TimeoutError as error:
            raise NoAnswer("time was up", perhaps_received=True) from error
        return _response(answer)

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        await self._client.aclose()


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


def _no_answer(error: httpx2.RequestError) -> NoAnswer:
    if isinstance(error, httpx2.TimeoutException):
        why = "time was up"
    else:
        why = _ERRNO.sub("", str(error)).rstrip(".") or type(error).__name__
    return NoAnswer(why, perhaps_received=not isinstance(error, _NOT_SENT))


def _response(answer: httpx2.Response) -> Response:
    return Response(status=answer.status_code, headers=dict(answer.headers.items()), body=answer.content)
