"""The awaitable transport: HTTP/1.1 over connections of an asyncio loop that are kept open."""

import asyncio
import socket
import ssl
from collections import deque
from typing import cast

from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.transports.http11 import AnswerReader, Place, located, secure_by_default, written
from aftercommit.sdk.transports.http_transport import IDLE_MAX, IDLE_SECONDS, TIME_WAS_UP, why_of

CONNECTIONS_MAX = 256


class AsyncHttpTransport:
    """The same as `HttpTransport` for one loop. At most `connections_max` requests are under way, the rest wait.

    The time of a request limits all of it, the wait included. Used on a new loop after its first one was closed, it
    starts anew there.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, connections_max: int = CONNECTIONS_MAX) -> None:
        self._tls = tls
        self._connections_max = connections_max
        self._idle: deque[_Connection] = deque()
        self._room = asyncio.Semaphore(connections_max)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: Request) -> Response:
        """Send it."""
        place, target = located(request.url)
        data = written(request, place, target)
        self._settle_on(asyncio.get_running_loop())
        deadline = self._now() + request.timeout_seconds
        connection: _Connection | None = None
        try:
            async with asyncio.timeout_at(deadline), self._room:
                connection = self._kept(place) or await self._open(place, deadline)
                answer = await connection.ask(data)
        except TimeoutError as error:
            self._drop(connection)
            raise NoAnswer(TIME_WAS_UP, perhaps_received=connection is not None) from error
        except BaseException:
            self._drop(connection)
            raise
        self._keep(connection)
        return answer

    async def close(self) -> None:
        """Close every connection that is not in use. May be called twice."""
        while self._idle:
            self._idle.pop().close()
        # One turn of the loop, in which the sockets are let go.
        await asyncio.sleep(0)

    def _settle_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("An awaitable transport serves one asyncio loop; make one for each loop.")
        self._loop, self._idle, self._room = loop, deque(), asyncio.Semaphore(self._connections_max)

    def _kept(self, place: Place) -> "_Connection | None":
        oldest = self._now() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.place == place and connection.idle_since > oldest and connection.is_reusable:
                return connection
            connection.close()
        return None

    def _keep(self, connection: "_Connection") -> None:
        if connection.is_reusable and len(self._idle) < IDLE_MAX:
            connection.idle_since = self._now()
            self._idle.append(connection)
        else:
            connection.close()

    def _drop(self, connection: "_Connection | None") -> None:
        if connection is not None:
            connection.close()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _open(self, place: Place, deadline: float) -> "_Connection":
        if place.is_secure:
            self._tls = self._tls or secure_by_default()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NoAnswer(why_of(error), perhaps_received=False) from error
        failure = OSError(f"{place.host} has no address")
        for number, (family, _, _, _, address) in enumerate(found):
            # An address that leads nowhere must not use up the time of those after it.
            seconds = (deadline - loop.time()) / (len(found) - number)
            try:
                async with asyncio.timeout(seconds):
                    return await self._connect(place, family, str(address[0]), int(address[1]))
            except OSError as error:
                failure = error
        raise NoAnswer(why_of(failure), perhaps_received=False) from failure

    async def _connect(self, place: Place, family: int, address: str, port: int) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(place),
            address,
            port,
            family=family,
            ssl=self._tls if place.is_secure else None,
            server_hostname=place.host if place.is_secure else None,
        )
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self, place: Place) -> None:
        self.place = place
        self.idle_since = 0.0
        self.is_reusable = False
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._answer: asyncio.Future[Response] | None = None

    async def ask(self, data: bytes) -> Response:
        """Write, and wait for the complete answer. What the system does not take at once is written meanwhile."""
        if self._transport is None:
            raise NoAnswer("the connection was closed", perhaps_received=False)
        self.is_reusable = False
        self._reader = AnswerReader()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._answer

    def close(self) -> None:
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def eof_received(self) -> None:
        self._take(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.is_reusable = False
        why = why_of(error) if isinstance(error, OSError) else "the connection was closed"
        self._fail(NoAnswer(why, perhaps_received=True))

    def _take(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            # The end, or an answer nobody asked for.
            self.close()
            return
        try:
            answer = self._reader.feed(data)
        except NoAnswer as failure:
            self._fail(failure)
            return
        if answer is not None:
            self.is_reusable = self._reader.is_reusable
            self._answer.set_result(answer)

    def _fail(self, failure: NoAnswer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)
