"""A real server in a thread of its own, and raw sockets to talk to it."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvloop

from aftercommit.api.limits import Limits
from aftercommit.api.server import HttpServer
from aftercommit.clocks import SystemClock
from aftercommit.testing.observer import RecordingObserver
from tests.api.door import api_of
from tests.service.world import world

Result = TypeVar("Result")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
PATIENCE_SECONDS = 20.0

HEAD = b"Host: 127.0.0.1\r\n"
GET = b"GET /livez HTTP/1.1\r\n" + HEAD + b"\r\n"
PREPARE = b'{"topic":"t","payload":1}'


class Serving:
    """A running server. `run` runs a coroutine in its loop and waits for the result."""

    def __init__(self, server: HttpServer, observer: RecordingObserver, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.observer = observer
        self.port = server.port
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def connect(self) -> "Line":
        """A new connection."""
        return Line(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS))

    def ask(self, *pieces: bytes) -> bytes:
        """Everything the server says to these bytes, sent on a connection of their own, until it closes."""
        with self.connect() as line:
            line.send(b"".join(pieces))
            return line.rest()


class Line:
    """One connection as bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._read = b""

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """The next response: status, headers, body."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return int(status_line.split()[1]), headers, body

    def rest(self) -> bytes:
        """Everything until the server closes."""
        while True:
            piece = self.sock.recv(65536)
            if not piece:
                return self._read
            self._read += piece

    def is_closed(self) -> bool:
        """Whether the server closes without another byte."""
        return self.rest() == b""

    def is_cut_off(self) -> bool:
        """Whether the server ends the connection, politely or not, without a byte."""
        try:
            return self.rest() == b""
        except ConnectionError:
            return self._read == b""

    def _more(self) -> None:
        piece = self.sock.recv(65536)
        assert piece, f"The server closed after {self._read!r}."
        self._read += piece


@contextmanager
def serving(app: Any = None, *, loop: str = "uvloop", limits: Limits | None = None) -> Iterator[Serving]:
    """A server for `app` (None: the whole API on memory back ends) on a free port."""
    started: list[Serving] = []
    failed: list[BaseException] = []
    is_up = threading.Event()
    stop: list[Callable[[], object]] = []

    async def live(served: Any, observer: RecordingObserver) -> None:
        server = HttpServer(
            served, host="127.0.0.1", port=0, clock=SystemClock(), observer=observer, limits=limits or Limits()
        )
        await server.start()
        asked = asyncio.Event()
        running = asyncio.get_running_loop()
        stop.append(lambda: running.call_soon_threadsafe(asked.set))
        started.append(Serving(server, observer, running))
        is_up.set()
        await asked.wait()
        await server.stop()

    async def main() -> None:
        if app is not None:
            await live(app, RecordingObserver())
            return
        async with world() as made:
            await made.register()
            await live(api_of(made), made.observer)

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                runner.run(main())
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            is_up.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert is_up.wait(PATIENCE_SECONDS)
    assert not failed, failed
    try:
        yield started[0]
    finally:
        stop[0]()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/messages", length: int | None = None) -> bytes:
    """A POST of JSON. `length` -1: without a Content-Length."""
    lines = [b"POST %b HTTP/1.1" % path, b"Host: 127.0.0.1", b"Content-Type: application/json", *headers]
    if length is None or length >= 0:
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join([*lines, b"", body])


def problem(response: tuple[int, dict[str, str], bytes], status: int, code: str) -> dict[str, str]:
    """Assert that the response is that problem; its headers."""
    assert response[0] == status, response
    assert response[1]["content-type"] == "application/problem+json"
    assert json.loads(response[2])["code"] == code
    return response[1]
