"""Asking over HTTP those who answer badly, or not at all: it is unknown, and never an exception."""

import asyncio
import gzip
import socket
import ssl
from pathlib import Path

import pytest

from aftercommit.checkbacks.http import HttpCheckback
from aftercommit.domain.commands import CheckOutcome
from aftercommit.ports.checkback import Question, Verdict
from aftercommit.testing.clock import ManualClock
from tests.checkbacks.conftest import SHORT_SECONDS, app, ask_about
from tests.checkbacks.initiators import Request, answering, free_port, initiator, response, results

COMMITTED, UNKNOWN = CheckOutcome.COMMITTED, CheckOutcome.UNKNOWN
YES = results({"a": "committed"})


LIMIT = 64 * 1024
GZIP_BOMB = gzip.compress(YES + b" " * 10_000_000)
UNUSABLE = {
    "HTML": (answering(b"<html>committed</html>", headers={"content-type": "text/html"}), "content type"),
    "HTML called JSON": (answering(b"<html>committed</html>"), "not JSON"),
    "JSON called HTML": (answering(YES, headers={"content-type": "text/html"}), "content type"),
    "a kind of JSON": (answering(YES, headers={"content-type": "application/problem+json"}), "content type"),
    "no content type": (answering(YES, headers={"content-type": None}), "content type"),
    "redirect": (answering(YES, "302 Found", {"location": "/elsewhere"}), "redirect 302"),
    "not modified": (answering(b"", "304 Not Modified", {"content-length": None}), "redirect 304"),
    "error with an answer": (answering(YES, "500 Internal Server Error"), "status 500"),
    "unavailable": (answering(YES, "503 Service Unavailable"), "status 503"),
    "not found": (answering(YES, "404 Not Found"), "status 404"),
    "accepted": (answering(YES, "202 Accepted"), "status 202"),
    "no content": (answering(b"", "204 No Content", {"content-length": None}), "status 204"),
    "one byte too much": (answering(YES + b" " * (LIMIT + 1 - len(YES))), "64 KiB"),
    "gzip bomb": (answering(GZIP_BOMB, headers={"content-encoding": "gzip"}), "compressed"),
    "said to be compressed": (answering(YES, headers={"content-encoding": "deflate"}), "compressed"),
    "empty": (answering(b""), "not JSON"),
    "unauthorized": (answering(YES, "401 Unauthorized", {"www-authenticate": "Basic"}), "status 401"),
}


@pytest.mark.parametrize(("behave", "why"), UNUSABLE.values(), ids=UNUSABLE)
async def test_an_unusable_answer_is_unknown_and_counts_as_a_check(checkback, observer, behave, why):
    async with initiator(behave) as it:
        verdicts = await checkback.ask(app(it.url), ask_about("a", "b"))

    assert [(each.id, each.outcome, each.made) for each in verdicts] == [("a", UNKNOWN, True), ("b", UNKNOWN, True)]
    assert why in (verdicts[0].detail or "")
    assert len(it.requests) == 1
    assert observer.counted("check_calls", result="unusable") == 1
    assert observer.alerts == []


async def test_an_answer_of_exactly_64_kib_counts(checkback):
    async with initiator(answering(YES + b" " * (LIMIT - len(YES)))) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert verdict.outcome is COMMITTED


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", " application/json ;"])
async def test_the_media_type_may_have_parameters(checkback, media_type):
    async with initiator(answering(YES, headers={"content-type": media_type, "content-encoding": "identity"})) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert verdict.outcome is COMMITTED


async def test_an_endless_answer_is_given_up_at_64_kib(checkback):
    async def pour(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"", headers={"content-length": None, "transfer-encoding": "chunked"}))
        while True:
            writer.write(b"400\r\n" + b" " * 0x400 + b"\r\n")
            await writer.drain()

    async with initiator(pour) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert (verdict.outcome, verdict.made) == (UNKNOWN, True)
    assert "64 KiB" in (verdict.detail or "")


# --- no answer at all ---------------------------------------------------------------------------------------------


async def test_silence_ends_at_the_deadline_and_counts_because_the_question_was_written(hasty, observer):
    async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with initiator(hang) as it:
        [verdict] = await hasty.ask(app(it.url), ask_about("a"))

    assert verdict == Verdict(id="a", outcome=UNKNOWN, made=True, detail=f"no answer within {SHORT_SECONDS} s")
    assert observer.counted("check_calls", result="late") == 1


async def test_an_answer_that_drips_in_ends_at_the_deadline(hasty):
    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        for byte in response(YES):
            writer.write(bytes([byte]))
            await writer.drain()
            await _a_moment(SHORT_SECONDS / 10)

    async with initiator(drip) as it:
        [verdict] = await hasty.ask(app(it.url), ask_about("a"))

    assert (verdict.outcome, verdict.made) == (UNKNOWN, True)
    assert "no answer within" in (verdict.detail or "")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_host_that_takes_the_connection_but_reads_nothing_was_not_asked(hasty):
    """The questions are larger than what the system buffers, and nobody reads."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    question = Question(id="a", topic="t", key="k" * 12_000_000, hint=None, prepared_at=0, check=1)
    with listener:
        [verdict] = await hasty.ask(app(f"http://127.0.0.1:{listener.getsockname()[1]}/"), [question])

    assert (verdict.outcome, verdict.made) == (UNKNOWN, False)


async def test_a_refused_connection_is_no_check(checkback, observer):
    [verdict] = await checkback.ask(app(f"http://127.0.0.1:{free_port()}/"), ask_about("a"))

    assert verdict == Verdict(id="a", outcome=UNKNOWN, made=False, detail="no connection could be made")
    assert observer.counted("check_calls", result="broken") == 1


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "a..b", "-"])
async def test_a_host_that_is_not_found_is_no_check(checkback, host):
    [verdict] = await checkback.ask(app(f"http://{host}/"), ask_about("a"))

    assert (verdict.outcome, verdict.made) == (UNKNOWN, False)


async def test_a_host_that_does_not_speak_tls_is_no_check(checkback):
    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response(YES))
        writer.close()

    async with await asyncio.start_server(mumble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        [verdict] = await checkback.ask(app(f"https://127.0.0.1:{port}/"), ask_about("a"))

    assert verdict == Verdict(id="a", outcome=UNKNOWN, made=False, detail="TLS could not be established")


async def test_a_certificate_nobody_vouches_for_is_no_check(checkback):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    async with initiator(answering(YES), tls=context) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert it.url.startswith("https:")
    assert verdict == Verdict(id="a", outcome=UNKNOWN, made=False, detail="TLS could not be established")


NO_ANSWER = {
    "closed": b"",
    "cut in the head": response(YES)[:40],
    "cut in the body": response(YES)[:-5],
    "not HTTP": b"+OK ready\r\n\r\n",
    "HTTP 0.9": YES,
    "an odd length": response(YES, headers={"content-length": "-5"}),
    "two lengths": response(YES, headers={"content-length": "5\r\ncontent-length: 6"}),
    "a broken chunk": response(b"zz\r\n", headers={"content-length": None, "transfer-encoding": "chunked"}),
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000,
}


@pytest.mark.parametrize("answer", NO_ANSWER.values(), ids=NO_ANSWER)
async def test_a_connection_that_breaks_after_the_question_counts_as_a_check(checkback, observer, answer):
    async def break_off(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with initiator(break_off) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert (verdict.outcome, verdict.made) == (UNKNOWN, True)
    assert verdict.detail
    assert observer.alerts == []


async def test_a_reset_connection_counts_as_a_check(checkback):
    async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with initiator(reset) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert (verdict.outcome, verdict.made) == (UNKNOWN, True)


async def test_a_slow_initiator_does_not_hold_up_another(make_checkback):
    async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    patient = make_checkback(30)
    async with initiator(hang) as slow, initiator(answering(YES)) as quick:
        waiting = asyncio.create_task(patient.ask(app(slow.url), ask_about("a")))
        [verdict] = await patient.ask(app(quick.url), ask_about("a"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await patient.close()

    assert verdict.outcome is COMMITTED


# --- nobody to ask ------------------------------------------------------------------------------------------------

NOBODY = {
    "no address": (app(None), "no check address"),
    "not allowed": (app("ftp://127.0.0.1/"), "not allowed"),
    "no secret": (app("http://127.0.0.1:1/", signed=True), "no signing secret"),
    "a malformed secret": (app("http://127.0.0.1:1/", signed=True, secrets=("whsec_x",)), "malformed"),
    "a malformed secret, unsigned": (app("http://127.0.0.1:1/", secrets=("whsec_x",)), "malformed"),
}


@pytest.mark.parametrize(("nobody", "why"), NOBODY.values(), ids=NOBODY)
async def test_where_nobody_can_be_asked_nothing_is_counted_as_a_check(checkback, observer, nobody, why):
    verdicts = await checkback.ask(nobody, ask_about("a", "b"))

    assert [(each.id, each.outcome, each.made) for each in verdicts] == [("a", UNKNOWN, False), ("b", UNKNOWN, False)]
    assert why in (verdicts[0].detail or "")
    assert observer.counted("check_calls", result="not_made") == 1


async def test_a_bug_of_ours_is_told_and_does_not_stop_the_checks_of_others(observer):
    def broken() -> str:
        raise RuntimeError("no more ids")

    checkback = HttpCheckback(clock=ManualClock(), observer=observer, new_id=broken)

    [verdict] = await checkback.ask(app("http://127.0.0.1:1/"), ask_about("a"))

    assert verdict == Verdict(id="a", outcome=UNKNOWN, made=False, detail="the call failed")
    assert observer.alerted() == ["check_call_failed"]
    assert "no more ids" in observer.alerts[0][1]


async def test_a_closed_check_back_asks_nobody_and_may_be_closed_again(checkback):
    async with initiator(answering(YES)) as it:
        await checkback.ask(app(it.url), ask_about("a"))
        await checkback.close()
        await checkback.close()
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert verdict.made is False
    assert len(it.requests) == 1


async def _a_moment(seconds: float) -> None:
    """Real time, for a server that is slow on purpose."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(seconds, passed.set_result, None)
    await passed
