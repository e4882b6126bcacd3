"""The server against clients that are slow, silent or deaf."""

import asyncio
import socket
from typing import Any

import pytest

from aftercommit.api.limits import Limits
from tests.api.serving import GET, Serving, post, problem, serving


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def hasty(request):
    """The same, with little patience."""
    limits = Limits(receive_seconds=0.2, idle_seconds=0.2, linger_seconds=0.2)
    with serving(loop=request.param, limits=limits) as running:
        yield running


def test_a_slow_head_is_408(hasty: Serving):
    with hasty.connect() as line:
        line.send(b"GET /livez HTTP/1.1\r\nHost: 127")
        problem(line.response(), 408, "request_timeout")
        assert line.is_closed()


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_slow_body_is_408(hasty: Serving, framing):
    with hasty.connect() as line:
        line.send(post(b"", framing, length=-1))
        problem(line.response(), 408, "request_timeout")
        assert line.is_closed()


def test_one_byte_now_and_then_holds_no_connection(hasty: Serving):
    with hasty.connect() as line:
        line.sock.settimeout(0.05)
        received = b""
        line.send(post(b"", length=1000))
        for _ in range(1000):
            try:
                line.send(b" ")
                piece = line.sock.recv(4096)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not piece:
                break
            received += piece

    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_connection_without_a_request_is_closed(hasty: Serving):
    with hasty.connect() as line:
        assert line.is_closed()


def test_empty_lines_are_no_request(hasty: Serving):
    with hasty.connect() as line:
        line.send(b"\r\n" * 10)
        assert line.is_closed()


def test_an_idle_connection_is_closed(hasty: Serving):
    with hasty.connect() as line:
        line.send(GET)
        assert line.response()[0] == 200
        assert line.is_closed()


def test_a_body_that_goes_on_after_its_refusal_holds_no_connection(hasty: Serving):
    with hasty.connect() as line:
        line.send(post(b" ", length=10**9))
        problem(line.response(), 413, "body_too_large")
        assert line.is_closed()


def test_an_answer_that_nobody_reads_holds_no_connection():
    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 50_000_000})

    with serving(endless, limits=Limits(idle_seconds=0.2)) as node, node.connect() as line:
        line.send(GET)
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wait_until_alone(node)


def wait_until_alone(node: Serving) -> None:
    async def alone() -> None:
        while node.server.connections:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)

    node.run(alone())


def test_a_long_call_is_not_a_slow_request(hasty: Serving):
    with hasty.connect() as line:
        line.send(post(b'{"wait_seconds":0.001}', path=b"/v1/topics/orders.created/subscriptions/billing/pull"))
        status, _, _ = line.response()
        assert status == 404
