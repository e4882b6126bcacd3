"""Initiators to ask: a real server on a free loopback port, byte by byte under the control of the test."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aftercommit.signatures import sign


@dataclass(frozen=True)
class Request:
    """One call as it arrived. Header names are in lower case."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def ids(self) -> list[str]:
        """The ids asked about."""
        return [check["id"] for check in json.loads(self.body)["checks"]]


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Initiator:
    """What a server was asked, and how it is going to behave."""

    url: str
    behave: Behaviour
    requests: list[Request] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def initiator(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Initiator]:
    """A server that reads one request per connection and then does what `behave` says."""
    conversations: set[asyncio.Task[Any]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        found.connections += 1
        try:
            request = await _read_request(reader)
            found.requests.append(request)
            await found.behave(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            found.requests.append(Request(f"broken off: {error!r}", {}, b""))
        except asyncio.CancelledError:
            # The test is over; a stream's task must not end cancelled, or asyncio complains.
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    found = Initiator(f"http{'s' if tls else ''}://127.0.0.1:{port}/checks", behave)
    try:
        yield found
    finally:
        server.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


def free_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def results(outcomes: Mapping[str, str] | Sequence[tuple[str, str]]) -> bytes:
    """The body of an answer."""
    pairs = outcomes.items() if isinstance(outcomes, Mapping) else outcomes
    return json.dumps({"results": [{"id": each, "outcome": outcome} for each, outcome in pairs]}).encode()


def response(body: bytes, status: str = "200 OK", headers: Mapping[str, str | None] | None = None) -> bytes:
    """A whole HTTP response. A header given as None is left out."""
    fields: dict[str, str | None] = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(
    body: bytes | Callable[[Request], bytes],
    status: str = "200 OK",
    headers: Mapping[str, str | None] | Callable[[Request, bytes], Mapping[str, str | None]] | None = None,
) -> Behaviour:
    """Answer every call with this, made from the call where a function is given."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        made = body(request) if callable(body) else body
        fields = headers(request, made) if callable(headers) else headers
        writer.write(response(made, status, fields))
        await writer.drain()

    return behave


def signing(*secrets: str, message_id: str | None = None, at: int) -> Callable[[Request, bytes], Mapping[str, str]]:
    """Headers that sign an answer, over the call's own id unless another is given."""

    def headers(request: Request, body: bytes) -> Mapping[str, str]:
        over = message_id or request.headers["webhook-id"]
        return {
            "webhook-id": over,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(secrets, over, at, body),
        }

    return headers


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)
