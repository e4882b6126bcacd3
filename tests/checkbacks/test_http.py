"""Asking over HTTP: what is sent, and which answers count."""

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from aftercommit import __version__
from aftercommit.domain.commands import CheckOutcome
from aftercommit.ports.checkback import Checkback, Question, Verdict
from aftercommit.testing.clock import START_MS
from tests.checkbacks.conftest import FOREIGN, NEW, NOW_SECONDS, OLD, app, ask_about
from tests.checkbacks.initiators import Request, answering, free_port, initiator, results, signing

COMMITTED, ROLLED_BACK, UNKNOWN = CheckOutcome.COMMITTED, CheckOutcome.ROLLED_BACK, CheckOutcome.UNKNOWN
YES = results({"a": "committed"})


async def test_definitive_answers_come_back_in_the_order_asked_whatever_the_order_answered(checkback, observer):
    body = results({"c": "committed", "zzz": "committed", "a": "committed", "b": "rolled_back"})
    async with initiator(answering(body)) as it:
        verdicts = await checkback.ask(app(it.url), ask_about("a", "b", "c"))

    assert verdicts == [
        Verdict(id="a", outcome=COMMITTED, made=True),
        Verdict(id="b", outcome=ROLLED_BACK, made=True),
        Verdict(id="c", outcome=COMMITTED, made=True),
    ]
    assert observer.counted("check_calls", result="answered") == 1


async def test_the_call_is_what_the_protocol_says(checkback):
    port: Checkback = checkback
    question = Question(id="a", topic="orders.created", key="42", hint="shard-3", prepared_at=START_MS + 7, check=2)
    async with initiator(answering(results({"a": "unknown"}))) as it:
        await port.ask(app(it.url + "?b=%20&x", secrets=(OLD, NEW)), [question])

    [request] = it.requests
    assert request.line == "POST /checks?b=%20&x HTTP/1.1"
    assert json.loads(request.body) == {
        "type": "aftercommit.check",
        "checks": [
            {
                "id": "a",
                "topic": "orders.created",
                "key": "42",
                "hint": "shard-3",
                "prepared_at": "2025-01-01T00:00:00.007Z",
                "check": 2,
            }
        ],
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == f"aftercommit/{__version__}"
    assert request.headers["webhook-id"].startswith("msg_")
    assert request.headers["webhook-timestamp"] == str(NOW_SECONDS)
    assert set(request.headers) == {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "connection"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_the_call_is_signed_with_every_secret_so_that_rotation_breaks_nobody(checkback, secret, monkeypatch):
    async with initiator(answering(YES)) as it:
        await checkback.ask(app(it.url, secrets=(OLD, NEW)), ask_about("a"))

    [request] = it.requests
    # The official package reads the real clock; only its idea of "too old" is in the way.
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda _, text: _at(int(text)))
    Webhook(secret).verify(request.body, dict(request.headers))


async def test_without_secrets_the_call_is_not_signed(checkback):
    async with initiator(answering(YES)) as it:
        await checkback.ask(app(it.url), ask_about("a"))

    assert "webhook-signature" not in it.requests[0].headers
    assert it.requests[0].headers["webhook-id"]


async def test_every_call_has_its_own_id_and_connection_and_no_cookies(checkback):
    cookie = {"set-cookie": "session=1; Path=/"}
    async with initiator(answering(YES, headers=cookie)) as it:
        for _ in range(3):
            await checkback.ask(app(it.url), ask_about("a"))

    assert len({each.headers["webhook-id"] for each in it.requests}) == 3
    assert it.connections == 3
    assert not any("cookie" in each.headers for each in it.requests)


async def test_a_hundred_questions_are_one_call(checkback):
    ids = [f"id-{number}" for number in range(100)]
    async with initiator(answering(lambda request: results(dict.fromkeys(request.ids, "committed")))) as it:
        verdicts = await checkback.ask(app(it.url), ask_about(*ids))

    assert [each.id for each in verdicts] == ids
    assert {each.outcome for each in verdicts} == {COMMITTED}
    assert len(it.requests) == 1


async def test_more_than_a_hundred_questions_are_our_own_mistake(checkback):
    with pytest.raises(ValueError, match="101 questions"):
        await checkback.ask(app("http://127.0.0.1:1/"), ask_about(*map(str, range(101))))


async def test_no_questions_are_no_call(checkback, observer):
    assert await checkback.ask(app("http://127.0.0.1:1/"), []) == []
    assert not observer.counts


async def test_the_environment_does_not_choose_a_proxy(checkback, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with initiator(answering(YES)) as it:
        [verdict] = await checkback.ask(app(it.url), ask_about("a"))

    assert verdict.outcome is COMMITTED


# --- signed answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed_with", [(OLD,), (NEW,), (OLD, NEW), (FOREIGN, NEW)])
async def test_an_answer_signed_with_either_secret_counts(checkback, signed_with):
    async with initiator(answering(YES, headers=signing(*signed_with, at=NOW_SECONDS))) as it:
        [verdict] = await checkback.ask(app(it.url, signed=True, secrets=(OLD, NEW)), ask_about("a"))

    assert verdict == Verdict(id="a", outcome=COMMITTED, made=True)


async def test_the_official_package_signs_answers_that_count(checkback):
    def official(request: Request, body: bytes) -> dict[str, str]:
        message_id = request.headers["webhook-id"]
        return {
            "Webhook-Id": message_id,
            "Webhook-Timestamp": str(NOW_SECONDS),
            "Webhook-Signature": Webhook(NEW).sign(message_id, _at(NOW_SECONDS), body.decode()),
        }

    async with initiator(answering(YES, headers=official)) as it:
        [verdict] = await checkback.ask(app(it.url, signed=True, secrets=(NEW,)), ask_about("a"))

    assert verdict.outcome is COMMITTED


FALSELY_SIGNED = {
    "unsigned": (None, "not signed"),
    "by a removed secret": (signing(OLD, at=NOW_SECONDS), "signature is wrong"),
    "over another call": (signing(NEW, message_id="msg_other", at=NOW_SECONDS), "another call"),
    "too long ago": (signing(NEW, at=NOW_SECONDS - 301), "signature is wrong"),
    "in the future": (signing(NEW, at=NOW_SECONDS + 301), "signature is wrong"),
    "garbage": (lambda request, body: {"webhook-id": request.headers["webhook-id"]}, "not signed"),
    "garbled": (
        lambda request, body: {"webhook-id": request.headers["webhook-id"], "webhook-signature": "v1,\xff"},
        "signature is wrong",
    ),
    "over another body": (
        lambda request, body: signing(NEW, at=NOW_SECONDS)(request, body + b" "),
        "signature is wrong",
    ),
    "the call's own signature sent back": (
        lambda request, body: {name: request.headers[name] for name in request.headers if name.startswith("webhook-")},
        "signature is wrong",
    ),
}


@pytest.mark.parametrize(("headers", "why"), FALSELY_SIGNED.values(), ids=FALSELY_SIGNED)
async def test_an_answer_that_is_not_authentic_is_unknown(checkback, observer, headers, why):
    async with initiator(answering(YES, headers=headers)) as it:
        [verdict] = await checkback.ask(app(it.url, signed=True, secrets=(NEW,)), ask_about("a"))

    assert (verdict.outcome, verdict.made) == (UNKNOWN, True)
    assert why in (verdict.detail or "")
    assert observer.counted("check_calls", result="unusable") == 1


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
