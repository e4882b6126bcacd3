"""What goes over which connection, how often, and from which thread, loop or process."""

import asyncio
import os
import socket
import ssl
import threading

import pytest
import uvloop

from aftercommit.sdk.clients.exchange import NoAnswer
from aftercommit.sdk.transports.async_http_transport import AsyncHttpTransport
from aftercommit.sdk.transports.http_transport import HttpTransport
from tests.sdk.transports.asking import CERTIFICATE, request, secure_server
from tests.sdk.transports.raw_server import OK, answering, answering_once, read_request, talking


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


async def test_a_secure_service_with_a_certificate_of_its_own_is_trusted_if_told_so(kind):
    transport = kind(tls=ssl.create_default_context(cafile=CERTIFICATE))
    with talking(answering(OK), tls=secure_server()) as server:
        for _ in range(2):
            assert (await transport.send(request(server.url))).body == b"ok"
        await transport.close()

    assert server.connections == 1


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
