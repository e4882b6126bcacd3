"""What is told of a request that failed, and how long anything may take."""

import asyncio
import contextlib
import socket
import threading

import pytest

from aftercommit.sdk.clients.exchange import NoAnswer
from aftercommit.sdk.transports.http_transport import HttpTransport, _Connection
from tests.sdk.transports.asking import request, secure_server
from tests.sdk.transports.raw_server import OK, answering, read_request, talking


async def test_a_port_nobody_listens_on_is_known_not_to_have_received_anything(transport):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(NoAnswer, match=r"efused|Connect call failed") as raised:
            await transport.send(request(f"http://127.0.0.1:{reserved.getsockname()[1]}/"))

    assert raised.value.perhaps_received is False
    assert "Errno" not in raised.value.why


async def test_a_host_that_cannot_be_one_is_known_not_to_have_received_anything(transport):
    with pytest.raises(NoAnswer) as raised:
        await transport.send(request(f"http://{'a' * 64}.example/"))

    assert raised.value.perhaps_received is False


def hang_up(stream):
    read_request(stream)


def reset(stream):
    read_request(stream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def cut_off(stream):
    read_request(stream)
    stream.sendall(OK[:-1])


def another_protocol(stream):
    stream.sendall(b"220 mail.example ESMTP\r\n")
    read_request(stream)


@pytest.mark.parametrize("talk", [hang_up, reset, cut_off, another_protocol])
async def test_a_failure_after_the_first_byte_may_have_been_received(transport, talk):
    with talking(talk) as server, pytest.raises(NoAnswer) as raised:
        await transport.send(request(server.url))

    assert raised.value.perhaps_received is True
    assert raised.value.why


async def test_a_service_that_says_nothing_is_given_up_when_the_time_is_up(transport):
    enough = threading.Event()

    def talk(stream):
        read_request(stream)
        enough.wait(10)

    with talking(talk) as server:
        with pytest.raises(NoAnswer, match="time was up") as raised:
            await transport.send(request(server.url, seconds=0.05))
        enough.set()

    assert raised.value.perhaps_received is True


async def test_a_service_that_drips_cannot_stretch_the_time(transport):
    enough = threading.Event()

    def talk(stream):
        read_request(stream)
        stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        # Every piece comes in time; their sum does not.
        while not enough.wait(0.01):
            stream.sendall(b"x")

    with talking(talk) as server:
        with pytest.raises(NoAnswer, match="time was up"):
            await transport.send(request(server.url, seconds=0.1))
        enough.set()


async def test_a_service_that_does_not_read_cannot_stretch_the_time(transport):
    enough = threading.Event()

    def talk(stream):
        enough.wait(10)

    with talking(talk) as server:
        with pytest.raises(NoAnswer, match="time was up") as raised:
            await transport.send(request(server.url, body=b"x" * 20_000_000, seconds=0.1))
        enough.set()

    assert raised.value.perhaps_received is True


async def test_an_answer_that_came_before_the_request_was_read_to_its_end_is_heard(transport):
    def talk(stream):
        stream.recv(1000)
        stream.sendall(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(65536):
            pass

    with talking(talk) as server:
        answer = await transport.send(request(server.url, body=b"x" * 5_000_000))
        await asyncio.sleep(0)

    assert (answer.status, answer.body) == (413, b"no")


def test_a_blocking_request_that_was_cut_short_still_hears_why():
    def talk(stream):
        stream.recv(1000)
        stream.sendall(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        # What is closed with bytes unread is reset.

    transport = HttpTransport()
    with talking(talk) as server:
        answer = transport.send(request(server.url, body=b"x" * 20_000_000))

    assert (answer.status, answer.body) == (413, b"no")


def test_a_request_of_which_the_system_took_no_byte_is_known_not_to_have_arrived(monkeypatch):
    was_reset = threading.Event()

    def talk(stream):
        read_request(stream)
        stream.sendall(OK)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
        was_reset.set()

    monkeypatch.setattr(_Connection, "is_quiet", lambda self: True)
    transport = HttpTransport()
    with talking(talk) as server:
        transport.send(request(server.url))
        was_reset.wait(10)
        with pytest.raises(NoAnswer) as raised:
            transport.send(request(server.url))

    assert raised.value.perhaps_received is False


async def test_a_certificate_nobody_vouches_for_ends_it_before_anything_is_sent(transport):
    with talking(answering(OK), tls=secure_server()) as server, pytest.raises(NoAnswer, match="ertificate") as raised:
        await transport.send(request(server.url))

    assert raised.value.perhaps_received is False


async def test_an_address_that_leads_nowhere_does_not_use_up_the_time_of_the_next(kind, monkeypatch):
    with talking(answering(OK)) as server:
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            bad = (*good[:4], reserved.getsockname())
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [bad, good])
            transport = kind()
            answer = await transport.send(request(server.url))
        await transport.close()

    assert answer.body == b"ok"


@pytest.fixture
def deaf():
    """The address of a port that takes no more connections, and does not refuse them either."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(20):
            one = stack.enter_context(socket.socket())
            one.settimeout(0.05)
            try:
                one.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            pytest.skip("This system takes any number of connections that nobody accepts.")
        yield listener.getsockname()


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(kind, deaf, monkeypatch):
    with talking(answering(OK)) as server:
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*good[:4], deaf), good])
        transport = kind()
        answer = await transport.send(request(server.url, seconds=1))
        await transport.close()

    assert answer.body == b"ok"
