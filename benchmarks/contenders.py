"""HTTP clients behind the SDK's seam, for the measurement that chooses between them.

httpx2 and aiohttp are there where the tests and the server are. The others are measured where they are installed:
urllib3, or niquests, which puts a fork in urllib3's place, so that one environment cannot hold both.
"""

import asyncio
import http.client
import importlib
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2

from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import Request
from aftercommit.sdk.transports.async_http_transport import AsyncHttpTransport
from aftercommit.sdk.transports.http_transport import HttpTransport
from aftercommit.sdk.transports.port import AsyncTransport, Transport

_HEAD_END = b"\r\n\r\n"


class Httpx2Transport:
    """Over a httpx2 client."""

    def __init__(self) -> None:
        self._client = httpx2.Client(trust_env=False, follow_redirects=False)

    def send(self, request: Request) -> Response:
        """Send it."""
        answer = self._client.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.body or None,
            timeout=request.timeout_seconds,
        )
        return Response(answer.status_code, dict(answer.headers.items()), answer.content)

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class Urllib3Transport:
    """Over a urllib3 pool."""

    def __init__(self) -> None:
        self._pool = importlib.import_module("urllib3").PoolManager(maxsize=64, retries=False)

    def send(self, request: Request) -> Response:
        """Send it."""
        answer = self._pool.request(
            request.method,
            request.url,
            headers=request.headers,
            body=request.body or None,
            timeout=request.timeout_seconds,
            redirect=False,
            retries=False,
        )
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def close(self) -> None:
        """Hang up."""
        self._pool.clear()


class NiquestsTransport:
    """Over a niquests session, told to leave out what costs most."""

    def __init__(self) -> None:
        self._session = _niquests().Session(disable_http2=True, disable_http3=True, pool_maxsize=64)
        self._session.trust_env = False

    def send(self, request: Request) -> Response:
        """Send it."""
        answer = self._session.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            data=request.body or None,
            timeout=request.timeout_seconds,
            allow_redirects=False,
        )
        return _of_niquests(answer)

    def close(self) -> None:
        """Hang up."""
        self._session.close()


class StandardTransport:
    """The blocking floor: http.client, a connection per thread, nothing looked after."""

    def __init__(self) -> None:
        self._own = threading.local()

    def send(self, request: Request) -> Response:
        """Send it."""
        place = urlsplit(request.url)
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=request.timeout_seconds)
            self._own.connection = connection
        connection.request(request.method, place.path, body=request.body, headers=dict(request.headers))
        answer = connection.getresponse()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def close(self) -> None:
        """The threads are gone, and their connections with them."""


class AiohttpTransport:
    """Over an aiohttp session."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Response:
        """Send it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100), trust_env=False)
        async with self._session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body or None,
            timeout=aiohttp.ClientTimeout(total=request.timeout_seconds),
            allow_redirects=False,
        ) as answer:
            body = await answer.read()
            return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()


class AsyncHttpx2Transport:
    """Over an awaitable httpx2 client."""

    def __init__(self) -> None:
        self._client = httpx2.AsyncClient(trust_env=False, follow_redirects=False)

    async def send(self, request: Request) -> Response:
        """Send it."""
        async with asyncio.timeout(request.timeout_seconds):
            answer = await self._client.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=request.body or None,
                timeout=request.timeout_seconds,
            )
        return Response(answer.status_code, dict(answer.headers.items()), answer.content)

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()


class AsyncNiquestsTransport:
    """Over an awaitable niquests session."""

    def __init__(self) -> None:
        self._session = _niquests().AsyncSession(disable_http2=True, disable_http3=True, pool_maxsize=64)
        self._session.trust_env = False

    async def send(self, request: Request) -> Response:
        """Send it."""
        answer: Any = await self._session.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            data=request.body or None,
            timeout=request.timeout_seconds,
            allow_redirects=False,
        )
        return _of_niquests(answer)

    async def close(self) -> None:
        """Hang up."""
        await self._session.close()


class StreamsTransport:
    """The awaitable floor: asyncio streams and a reading of the answer that knows only this service."""

    def __init__(self) -> None:
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: Request) -> Response:
        """Send it."""
        place = urlsplit(request.url)
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(place.hostname, place.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        head = f"{request.method} {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\n{lines}"
        writer.write(f"{head}content-length: {len(request.body)}\r\n\r\n".encode() + request.body)
        status_line, *fields = (await reader.readuntil(_HEAD_END))[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
        body = await reader.readexactly(int(headers["content-length"]))
        self._idle.append((reader, writer))
        return Response(int(status_line[9:12]), headers, body)

    async def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()


def _is_the_fork() -> bool:
    # The fork numbers its versions from 900 on.
    return int(importlib.import_module("urllib3").__version__.rpartition(".")[2]) >= 900


def _niquests() -> Any:
    return importlib.import_module("niquests")


def _of_niquests(answer: Any) -> Response:
    headers = {str(name).lower(): str(value) for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, answer.content)


BLOCKING: dict[str, Callable[[], Transport]] = {
    "http.client (floor)": StandardTransport,
    "the SDK's own, on httptools": HttpTransport,
    "httpx2": Httpx2Transport,
}
AWAITABLE: dict[str, Callable[[], AsyncTransport]] = {
    "asyncio streams (floor)": StreamsTransport,
    "the SDK's own, on httptools": AsyncHttpTransport,
    "httpx2": AsyncHttpx2Transport,
    "aiohttp": AiohttpTransport,
}
if find_spec("urllib3"):
    if _is_the_fork():
        BLOCKING["niquests"] = NiquestsTransport
        AWAITABLE["niquests"] = AsyncNiquestsTransport
    else:
        BLOCKING["urllib3"] = Urllib3Transport
