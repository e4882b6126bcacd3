"""The transport over httpx2, and that importing the SDK touches nothing."""

import asyncio
import socket
import subprocess
import sys

import httpx2
import pytest

from aftercommit.sdk import Client
from aftercommit.sdk.exchange import NoAnswer, Request
from aftercommit.sdk.transports import AsyncHttpTransport, HttpTransport, ScriptedTransport
from tests.sdk.answering import STATUS

REQUEST = Request("POST", "http://127.0.0.1:1/v1/messages", {"content-type": "application/json"}, b"{}", 2.5)


def over(handler):
    return HttpTransport(httpx2.Client(transport=httpx2.MockTransport(handler)))


def async_over(handler):
    return AsyncHttpTransport(httpx2.AsyncClient(transport=httpx2.MockTransport(handler)))


def echo(request):
    assert request.extensions["timeout"]["read"] == 2.5
    return httpx2.Response(307, headers={"Location": "/x", "X-Seen": request.headers["content-type"]}, content=b"body")


def test_a_request_goes_out_as_it_is_and_its_answer_comes_back_as_it_is():
    response = over(echo).send(REQUEST)

    assert (response.status, response.body) == (307, b"body")
    assert response.headers["x-seen"] == "application/json"


async def test_a_request_goes_out_as_it_is_from_the_awaitable_transport_too():
    response = await async_over(echo).send(REQUEST)

    assert (response.status, response.body) == (307, b"body")


FAILURES = [
    (httpx2.ConnectError("refused."), False, "refused"),
    (httpx2.ConnectTimeout(""), False, "time was up"),
    (httpx2.PoolTimeout(""), False, "time was up"),
    (httpx2.ReadTimeout(""), True, "time was up"),
    (httpx2.WriteError(""), True, "WriteError"),
    (httpx2.RemoteProtocolError("cut off"), True, "cut off"),
    (httpx2.DecodingError("bad gzip"), True, "bad gzip"),
]


@pytest.mark.parametrize(("failure", "perhaps_received", "why"), FAILURES)
async def test_a_failure_says_whether_the_request_may_have_arrived(failure, perhaps_received, why):
    def fail(request):
        raise failure

    with pytest.raises(NoAnswer) as blocking:
        over(fail).send(REQUEST)
    with pytest.raises(NoAnswer) as awaitable:
        await async_over(fail).send(REQUEST)

    for raised in (blocking, awaitable):
        assert (raised.value.perhaps_received, raised.value.why) == (perhaps_received, why)


async def test_a_request_that_drips_is_ended_when_its_time_is_up():
    async def never(request):
        # The loop is never given a reason to go on, so only the transport's own limit ends this.
        await asyncio.Event().wait()

    request = Request("GET", "http://127.0.0.1:1/", {}, b"", 0.01)

    with pytest.raises(NoAnswer, match="time was up"):
        await async_over(never).send(request)


def test_a_port_nobody_listens_on_is_known_not_to_have_received_anything():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        transport = HttpTransport()

        with pytest.raises(NoAnswer) as raised:
            transport.send(Request("GET", url, {}, b"", 5))

    transport.close()
    transport.close()
    assert raised.value.perhaps_received is False


def test_the_last_function_of_a_script_answers_for_ever():
    transport = ScriptedTransport([lambda request: STATUS])

    for _ in range(3):
        Client(transport=transport).confirm("1")

    assert len(transport.requests) == 3


def test_a_script_that_ran_out_says_what_was_asked():
    with pytest.raises(AssertionError, match="POST http"):
        ScriptedTransport().send(REQUEST)


def test_importing_the_sdk_opens_no_socket_and_starts_no_thread():
    code = (
        "import sys, threading\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, arguments: seen.append(event) if event.startswith('socket.') else None)\n"
        "import aftercommit.sdk\n"
        "client = aftercommit.sdk.Client()\n"
        "assert not [each for each in seen if each != 'socket.gethostname'], seen\n"
        "assert threading.active_count() == 1\n"
        "assert not {'click', 'starlette', 'aiohttp'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
