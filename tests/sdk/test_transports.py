"""The transports over sockets: what is kept, what is told of a failure, and how long anything may take."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from aftercommit.sdk import Client
from aftercommit.sdk.async_http_transport import AsyncHttpTransport
from aftercommit.sdk.exchange import NoAnswer, Request
from aftercommit.sdk.http_transport import HttpTransport, _Connection
from aftercommit.sdk.transports import ScriptedTransport
from tests.sdk.answering import STATUS
from tests.sdk.raw_server import OK, answering, answering_once, read_request, talking

HOPELESSLY_LONG = 30
# For 127.0.0.1, signed by itself, with its key.
CERTIFICATE = Path(__file__).with_name("certificate.pem")


def request(url, body=b"{}", seconds=HOPELESSLY_LONG):
    return Request("POST", url, {"content-type": "application/json"}, body, seconds)


def secure_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


class Blocking:
    """The blocking transport, looked at like the awaitable one."""

    def __init__(self, **options):
        self._transport = HttpTransport(**options)

    async def send(self, asked):
        return await asyncio.to_thread(self._transport.send, asked)

    async def close(self):
        self._transport.close()


@pytest.fixture(params=[Blocking, AsyncHttpTransport], ids=["blocking", "awaitable"])
def kind(request):
    return request.param


@pytest.fixture
async def transport(kind):
    made = kind()
    yield made
    await made.close()
    await made.close()


async def test_a_request_goes_out_and_its_answer_comes_back_whatever_it_says(transport):
    seen = []

    def talk(stream):
        seen.append(read_request(stream))
        stream.sendall(b"HTTP/1.1 307 Elsewhere\r\nLocation: /x\r\nX-A: 1\r\ncontent-length: 4\r\n\r\nbody")

    with talking(talk) as server:
        answer = await transport.send(request(server.url))

    assert (answer.status, answer.body, answer.headers["location"]) == (307, b"body", "/x")
    [written] = seen
    assert written.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    assert written.endswith(b"\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")


async def test_a_connection_is_kept_for_the_next_request(transport):
    with talking(answering(OK)) as server:
        for _ in range(3):
            assert (await transport.send(request(server.url))).body == b"ok"
        await transport.close()

    assert server.connections == 1


async def test_what_is_asked_at_the_same_time_goes_over_connections_of_its_own(transport):
    both = threading.Barrier(2, timeout=10)

    def talk(stream):
        read_request(stream)
        both.wait()
        stream.sendall(OK)

    with talking(talk) as server:
        await asyncio.gather(transport.send(request(server.url)), transport.send(request(server.url)))

    assert server.connections == 2


@pytest.mark.parametrize("answer", [OK.replace(b"200 OK", b"200 OK\r\nconnection: close"), OK + b"HTTP/1.1 excess"])
async def test_a_connection_that_is_over_or_out_of_step_is_not_used_again(transport, answer):
    with talking(answering_once(answer)) as server:
        for _ in range(2):
            assert (await transport.send(request(server.url))).body == b"ok"

    assert server.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_noticed_before_it_is_used(transport):
    hung_up = threading.Event()

    def talk(stream):
        read_request(stream)
        stream.sendall(OK)
        stream.shutdown(socket.SHUT_RDWR)
        stream.close()
        hung_up.set()

    with talking(talk, answering(OK)) as server:
        await transport.send(request(server.url))
        await asyncio.to_thread(hung_up.wait, 10)
        # A turn or two of the loop, in which the awaitable form hears of it.
        for _ in range(3):
            await asyncio.sleep(0)
        assert (await transport.send(request(server.url))).body == b"ok"
        await transport.close()

    assert server.connections == 2


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


async def test_a_large_request_and_a_large_answer_arrive_whole(transport):
    body = os.urandom(3_000_000)
    seen = []

    def talk(stream):
        seen.append(read_request(stream))
        stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    with talking(talk) as server:
        answer = await transport.send(request(server.url, body=body))

    assert answer.body == body
    assert seen[0].endswith(body)


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


async def test_a_secure_service_with_a_certificate_of_its_own_is_trusted_if_told_so(kind):
    transport = kind(tls=ssl.create_default_context(cafile=CERTIFICATE))
    with talking(answering(OK), tls=secure_server()) as server:
        for _ in range(2):
            assert (await transport.send(request(server.url))).body == b"ok"
        await transport.close()

    assert server.connections == 1


async def test_a_certificate_nobody_vouches_for_ends_it_before_anything_is_sent(transport):
    with talking(answering(OK), tls=secure_server()) as server, pytest.raises(NoAnswer, match="ertificate") as raised:
        await transport.send(request(server.url))

    assert raised.value.perhaps_received is False


async def test_a_cancelled_request_leaves_no_connection_behind_that_another_could_be_given():
    asked, hung_up = threading.Event(), threading.Event()

    def slow(stream):
        read_request(stream)
        asked.set()
        if not stream.recv(1):
            hung_up.set()

    transport = AsyncHttpTransport()
    with talking(slow, answering(OK)) as server:
        cancelled = asyncio.create_task(transport.send(request(server.url)))
        await asyncio.to_thread(asked.wait, 10)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await asyncio.to_thread(hung_up.wait, 10)
        answer = await transport.send(request(server.url))
        await transport.close()

    assert answer.body == b"ok"
    assert server.connections == 2


async def test_more_requests_than_connections_wait_for_their_turn_within_their_time():
    transport = AsyncHttpTransport(connections_max=1)
    asked, go_on = threading.Event(), threading.Event()

    def slow(stream):
        while read_request(stream):
            asked.set()
            go_on.wait(10)
            stream.sendall(OK)

    with talking(slow) as server:
        first = asyncio.create_task(transport.send(request(server.url)))
        await asyncio.to_thread(asked.wait, 10)
        with pytest.raises(NoAnswer, match="time was up") as raised:
            await transport.send(request(server.url, seconds=0.02))
        go_on.set()
        await first
        assert (await transport.send(request(server.url))).body == b"ok"
        await transport.close()

    assert raised.value.perhaps_received is False
    assert server.connections == 1


def test_an_awaitable_transport_works_on_the_loop_of_the_service_too():
    async def twice(url):
        transport = AsyncHttpTransport()
        bodies = [(await transport.send(request(url))).body for _ in range(2)]
        await transport.close()
        return bodies

    with talking(answering(OK)) as server:
        assert uvloop.run(twice(server.url)) == [b"ok", b"ok"]

    assert server.connections == 1


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


def test_an_awaitable_transport_starts_anew_on_the_next_loop():
    transport = AsyncHttpTransport()

    async def once(url):
        answer = await transport.send(request(url))
        await transport.close()
        return answer.body

    with talking(answering(OK)) as server:
        assert [asyncio.run(once(server.url)) for _ in range(2)] == [b"ok", b"ok"]


async def test_an_awaitable_transport_says_so_if_it_is_shared_by_two_loops():
    transport = AsyncHttpTransport()
    with talking(answering(OK)) as server:
        await transport.send(request(server.url))
        with pytest.raises(RuntimeError, match="one asyncio loop"):
            await asyncio.to_thread(asyncio.run, transport.send(request(server.url)))
        await transport.close()


def test_a_forked_process_opens_a_connection_of_its_own():
    transport = HttpTransport()
    with talking(answering(OK)) as server:
        transport.send(request(server.url))
        child = os.fork()
        if child == 0:
            answered = transport.send(request(server.url)).body == b"ok"
            os._exit(0 if answered else 1)
        _, status = os.waitpid(child, 0)
        assert transport.send(request(server.url)).body == b"ok"
        transport.close()

    assert os.waitstatus_to_exitcode(status) == 0
    assert server.connections == 2


def test_threads_share_the_connections_that_are_free():
    transport = HttpTransport()
    with talking(answering(OK)) as server:

        def ask_often():
            for _ in range(50):
                assert transport.send(request(server.url)).body == b"ok"

        threads = [threading.Thread(target=ask_often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        transport.close()

    assert server.connections <= 4


def test_the_last_function_of_a_script_answers_for_ever():
    transport = ScriptedTransport([lambda request: STATUS])

    for _ in range(3):
        Client(transport=transport).confirm("1")

    assert len(transport.requests) == 3


def test_a_script_that_ran_out_says_what_was_asked():
    with pytest.raises(AssertionError, match="POST http"):
        ScriptedTransport().send(request("http://127.0.0.1:1/"))


def test_importing_the_sdk_opens_no_socket_and_starts_no_thread():
    code = (
        "import sys, threading\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, arguments: seen.append(event) if event.startswith('socket.') else None)\n"
        "import aftercommit.sdk\n"
        "client = aftercommit.sdk.Client()\n"
        "aftercommit.sdk.AsyncClient()\n"
        "assert not seen, seen\n"
        "assert threading.active_count() == 1\n"
        "assert not {'click', 'httpx2', 'aiohttp', 'sqlalchemy', 'django'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
