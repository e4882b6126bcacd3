"""The server stopping, full, or with an application that breaks."""

import asyncio
import threading
from typing import Any

import httpx2
import pytest

from aftercommit.api.limits import Limits
from aftercommit.api.server import HttpServer
from aftercommit.clocks import SystemClock
from aftercommit.domain.errors import ConfigurationError
from aftercommit.testing.observer import RecordingObserver
from tests.api.serving import GET, Line, problem, serving


class Waiting:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cancelled = False
        self._may_go = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def go(self) -> None:
        """Answer now. Called from outside the loop."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._may_go.set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self.entered.set()
        try:
            await self._may_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def test_stopping_finishes_what_runs_and_closes_what_does_not():
    app = Waiting()
    with serving(app) as node, node.connect() as busy, node.connect() as idle:
        busy.send(GET)
        assert app.entered.wait(20)
        stopping = asyncio.run_coroutine_threadsafe(node.server.stop(), node._loop)
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            node.connect()

        app.go()

        status, headers, body = busy.response()
        assert (status, headers["connection"], body) == (200, "close", b"ok")
        assert busy.is_closed()
        stopping.result(20)


def test_stopping_waits_only_so_long():
    app = Waiting()
    with serving(app, limits=Limits(stop_seconds=0.1)) as node, node.connect() as line:
        line.send(GET)
        assert app.entered.wait(20)

        node.run(node.server.stop())

        problem(line.response(), 503, "stopping")
        assert line.is_closed()
    assert app.cancelled


def test_too_many_connections_are_refused_and_those_that_are_there_go_on():
    with serving(limits=Limits(connections_max=2)) as node:
        lines: list[Line] = []
        for _ in range(2):
            lines.append(node.connect())
            lines[-1].send(GET)
            assert lines[-1].response()[0] == 200

        with node.connect() as third:
            third.send(GET)
            assert problem(third.response(), 503, "too_many_connections")["retry-after"] == "1"
            assert third.is_closed()
        for line in lines:
            line.send(GET)
            assert line.response()[0] == 200
            line.sock.close()


def test_far_too_many_connections_are_cut_off():
    with serving(limits=Limits(connections_max=1)) as node, node.connect() as first:
        first.send(GET)
        assert first.response()[0] == 200
        with node.connect() as second, node.connect() as third:
            second.send(GET)
            assert second.response()[0] == 503
            assert third.is_cut_off()


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_breaks_is_500_or_cut_off(begun):
    async def broken(_scope: Any, _receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("secret")

    with serving(broken) as node, node.connect() as line:
        line.send(GET)
        if begun:
            with pytest.raises((ConnectionError, AssertionError)):
                line.response()
        else:
            problem(line.response(), 500, "internal_error")


def test_an_application_may_stream():
    async def streaming(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for piece in (b"one ", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with serving(streaming) as node, httpx2.Client(base_url=f"http://127.0.0.1:{node.port}") as client:
        assert client.get("/").text == "one two"
        assert client.head("/").text == ""


async def test_an_address_that_is_taken_is_a_clear_error():
    with serving() as node:
        server = HttpServer(None, host="127.0.0.1", port=node.port, clock=SystemClock(), observer=RecordingObserver())
        with pytest.raises(ConfigurationError, match=str(node.port)):
            await server.start()


async def test_stopping_twice_is_stopping_once():
    server = HttpServer(None, host="127.0.0.1", port=0, clock=SystemClock(), observer=RecordingObserver())
    await server.start()
    assert server.port

    await server.stop()
    await server.stop()
