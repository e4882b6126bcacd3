"""The core of check-back: what is refused, what is answered, and that in doubt everything is `unknown`."""

import asyncio
import inspect
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.web import BODY_BYTES_MAX, WebAnswer
from aftercommit.signatures import BadSecret
from tests.sdk.checkback.asking import (
    CALL_ID,
    NEWER,
    ONE,
    OTHER,
    SECRET,
    THREE,
    TWO,
    Awaited,
    Known,
    asked_about,
    call,
    check,
    heard,
    signed,
)

Ask = Callable[..., Awaitable[WebAnswer]]


@pytest.fixture(params=["blocking", "blocking in a thread", "awaited"])
def way(request: pytest.FixtureRequest) -> str:
    """Every responder answers the same, whoever asks it and whatever its barrier is."""
    return request.param


@pytest.fixture
def ask(way: str) -> Ask:
    """How to ask a responder with that barrier; signed, unless headers are given."""

    async def ask(
        barrier: Known | None, body: bytes, headers: dict[str, str] | None = None, **options: Any
    ) -> WebAnswer:
        asked = Awaited(barrier) if barrier is not None and way == "awaited" else barrier
        responder = CheckResponder(asked, **{"secrets": [SECRET], **options})
        headers = signed(body) if headers is None else headers
        if way == "blocking":
            return responder.respond_blocking(headers, body)
        return await responder.respond(headers, body)

    return ask


BODY = call(check())
COMMITTED = {ONE: Outcome.COMMITTED}


@pytest.mark.parametrize(
    ("body", "headers", "status", "complaint"),
    [
        (BODY, {}, 401, "not signed"),
        (BODY, {"content-type": "application/json"}, 401, "not signed"),
        (BODY, signed(BODY, OTHER), 401, "None of its signatures"),
        (BODY, signed(BODY + b" "), 401, "None of its signatures"),
        (BODY, signed(BODY, at=datetime(2020, 1, 1, tzinfo=UTC)), 401, "more than 300 seconds"),
        (BODY, signed(BODY, at=datetime(2100, 1, 1, tzinfo=UTC)), 401, "more than 300 seconds"),
        (BODY, {**signed(BODY), "Webhook-Id": "msg_other"}, 401, "None of its signatures"),
        (BODY, {**signed(BODY), "Webhook-Signature": "v1,caf\u00e9"}, 401, "None of its signatures"),
        (b"not JSON", {}, 401, "not signed"),
        (BODY, {**signed(BODY), "Content-Type": "text/plain"}, 415, "application/json"),
        (BODY, {k: v for k, v in signed(BODY).items() if k != "Content-Type"}, 415, "application/json"),
        (BODY, {**signed(BODY), "Content-Encoding": "gzip"}, 415, "compressed"),
        (b"x" * (BODY_BYTES_MAX + 1), {}, 413, "larger than 1048576 bytes"),
    ],
)
async def test_what_the_service_would_not_send_is_refused(ask, body, headers, status, complaint):
    barrier = Known(COMMITTED)
    answer = await ask(barrier, body, headers)
    assert answer.status == status
    assert complaint in json.loads(answer.body)["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert barrier.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{'type'",
        BODY[:-1],
        BODY + BODY,
        b'{"type": "aftercommit.check"}',
        b'{"checks": []}',
        call(check(), type="aftercommit.message"),
        call(check(), type=1),
        call(type="aftercommit.check", checks=None),
        call({**check(), "id": 1}),
        call({**check(), "topic": None}),
        call({"id": ONE}),
        b'{"type": "aftercommit.check", "checks": [], "more": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        BODY.replace(b"orders", b"\\ud800"),
    ],
)
async def test_what_is_no_check_back_call_is_refused(ask, body):
    barrier = Known(COMMITTED)
    answer = await ask(barrier, body)
    assert (answer.status, barrier.asked) == (400, [])


async def test_bytes_that_are_no_text_are_refused(ask):
    body = BODY.replace(b"orders", b"\xff\xfe")
    answer = await ask(Known(COMMITTED), body, {"content-type": "application/json"}, secrets=())
    assert answer.status == 400


async def test_every_asked_message_is_answered_once_and_no_other(ask):
    barrier = Known({ONE: Outcome.COMMITTED, TWO: Outcome.ROLLED_BACK, "another": Outcome.COMMITTED})
    body = call(check(ONE), check(TWO), check(THREE), check(ONE))

    answer = await ask(barrier, body)

    assert heard(answer) == {ONE: "committed", TWO: "rolled_back", THREE: "unknown"}
    assert barrier.asked == [[ONE, TWO, THREE]]


async def test_an_empty_call_is_answered_and_nobody_is_asked(ask):
    barrier = Known(COMMITTED)
    assert heard(await ask(barrier, call())) == {}
    assert barrier.asked == []


async def test_unknown_fields_and_parameters_of_the_media_type_are_ignored(ask):
    body = call(check(color="red"), note={"a": [1]})
    headers = {**signed(body), "Content-Type": "Application/JSON; charset=utf-8"}
    assert heard(await ask(Known(COMMITTED), body, headers)) == {ONE: "committed"}


async def test_a_replayed_call_is_answered_again(ask):
    barrier, headers = Known(COMMITTED), signed(BODY)
    for _ in range(2):
        assert heard(await ask(barrier, BODY, headers)) == {ONE: "committed"}
    assert barrier.asked == [[ONE], [ONE]]


async def test_without_a_barrier_or_a_rule_nothing_is_known_and_a_warning_says_so(ask, caplog):
    assert heard(await ask(None, BODY)) == {ONE: "unknown"}
    assert "Nothing answers checks of orders.created" in caplog.text


async def test_a_barrier_that_raises_makes_unknown_for_its_checks_only(ask, caplog):
    body = call(check(ONE), check(TWO, "orders.paid", key="card 4711"))
    answer = await ask(Known(OSError("no database")), body, rules={"orders.paid": lambda _check: True})
    assert heard(answer) == {ONE: "unknown", TWO: "committed"}
    (record,) = [each for each in caplog.records if each.name == "aftercommit.checkback"]
    assert record.levelno == logging.ERROR
    assert "1 checks of orders.created could not be decided" in record.message
    assert "4711" not in caplog.text


@pytest.mark.parametrize("nonsense", [{ONE: "done"}, {ONE: 1}, {ONE: []}, [ONE], "committed", 7])
async def test_nonsense_is_no_outcome(ask, nonsense, caplog):
    assert heard(await ask(Known(nonsense), BODY)) == {ONE: "unknown"}
    assert "outcome" in caplog.text


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (True, "committed"),
        (False, "rolled_back"),
        (None, "unknown"),
        (Outcome.COMMITTED, "committed"),
        (Outcome.ROLLED_BACK, "rolled_back"),
        (Outcome.UNKNOWN, "unknown"),
        (1, "unknown"),
        (0, "unknown"),
        ("yes", "unknown"),
    ],
)
async def test_a_rule_decides_instead_of_the_barrier(ask, verdict, outcome):
    barrier = Known({ONE: Outcome.COMMITTED, TWO: Outcome.COMMITTED})
    rules = {"orders.paid": lambda each: verdict if each.key == "42" else 1 / 0}
    answer = await ask(barrier, call(check(ONE), check(TWO, "orders.paid", key="42")), rules=rules)
    assert heard(answer) == {ONE: "committed", TWO: outcome}
    assert barrier.asked == [[ONE]]


async def test_a_rule_that_raises_makes_unknown_for_its_check_only(ask, caplog):
    rules = {"orders.paid": lambda each: {"42": True}[each.key]}
    body = call(check(ONE, "orders.paid", key="13"), check(TWO, "orders.paid", key="42"), check(THREE))
    answer = await ask(Known({THREE: Outcome.ROLLED_BACK}), body, rules=rules)
    assert heard(answer) == {ONE: "unknown", TWO: "committed", THREE: "rolled_back"}
    assert "1 checks of orders.paid could not be decided" in caplog.text


async def test_rules_that_come_after_the_time_are_not_asked(ask):
    ticks = iter([0.0, 0.0, 5.0, 5.0])
    rules = {"orders.paid": lambda _check: True}
    body = call(check(ONE, "orders.paid"), check(TWO, "orders.paid"), check(THREE, "orders.paid"))
    answer = await ask(None, body, rules=rules, clock=lambda: next(ticks))
    assert heard(answer) == {ONE: "committed", TWO: "unknown", THREE: "unknown"}


async def test_what_is_awaited_too_long_is_unknown_and_what_was_decided_stands(caplog):
    cancelled: list[str] = []
    responder = CheckResponder(Known({THREE: Outcome.COMMITTED}), secrets=[SECRET], seconds=0.05)

    @responder.rule("orders.slow")
    async def slow(_check: Any) -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("slow")
            raise
        return True

    @responder.rule("orders.paid")
    async def paid(_check: Any) -> bool:
        return False

    body = call(check(ONE, "orders.paid"), check(TWO, "orders.slow"), check(THREE))
    answer = await responder.respond(signed(body), body)
    assert heard(answer) == {ONE: "rolled_back", TWO: "unknown", THREE: "committed"}
    assert cancelled == ["slow"]
    assert "not all decided within 0.05 s" in caplog.text


async def test_what_blocks_too_long_is_left_to_its_thread():
    release = threading.Event()
    responder = CheckResponder(secrets=[SECRET], seconds=0.05, rules={"orders.created": lambda _: release.wait(10)})
    try:
        assert heard(await responder.respond(signed(BODY), BODY)) == {ONE: "unknown"}
    finally:
        release.set()


async def test_a_rule_that_times_out_by_itself_is_an_error_like_any(ask, caplog):
    def late(_check: Any) -> bool:
        raise TimeoutError("the books did not answer")

    answer = await ask(None, call(check(), check(TWO, "orders.paid")), rules={"orders.created": late})
    assert heard(answer) == {ONE: "unknown", TWO: "unknown"}
    assert "could not be decided" in caplog.text


async def test_a_blocking_barrier_does_not_hold_up_the_loop():
    where: list[int] = []

    class Blocking:
        def check(self, checks: Any) -> dict[str, Outcome]:
            where.append(threading.get_ident())
            return COMMITTED

    assert heard(await CheckResponder(Blocking(), secrets=[SECRET]).respond(signed(BODY), BODY)) == {ONE: "committed"}
    assert where != [threading.get_ident()]


async def test_a_barrier_that_turns_out_to_be_awaitable_is_awaited_or_unknown(caplog):
    awaited = Awaited(Known(COMMITTED))

    class Disguised:
        def check(self, checks: Any) -> Any:
            return awaited.check(checks)

    responder = CheckResponder(Disguised(), secrets=[SECRET])
    assert heard(await responder.respond(signed(BODY), BODY)) == {ONE: "committed"}
    assert heard(responder.respond_blocking(signed(BODY), BODY)) == {ONE: "unknown"}
    assert "A blocking responder cannot await" in caplog.text


async def test_both_secrets_of_a_rotation_are_good_and_the_answer_is_signed_with_both(ask):
    for secrets in ([SECRET], [NEWER], [SECRET, NEWER], [OTHER, NEWER]):
        headers = signed(BODY, *secrets)
        answer = await ask(Known(COMMITTED), BODY, headers, secrets=[SECRET, NEWER])
        assert heard(answer, SECRET, NEWER) == {ONE: "committed"}
    assert len(answer.headers["webhook-signature"].split()) == 2
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(answer.body, dict(answer.headers))


async def test_the_answer_is_signed_at_the_responders_own_time(ask):
    then = datetime(2026, 1, 2, tzinfo=UTC)
    answer = await ask(Known(COMMITTED), BODY, signed(BODY, at=then), now=lambda: then.timestamp() + 200)
    assert answer.status == 200
    assert answer.headers["webhook-timestamp"] == str(int(then.timestamp()) + 200)
    assert answer.headers["webhook-id"] == CALL_ID
    expected = Webhook(SECRET).sign(CALL_ID, datetime.fromtimestamp(then.timestamp() + 200, UTC), answer.body.decode())
    assert answer.headers["webhook-signature"] == expected


async def test_without_secrets_anybody_is_answered_unsigned_and_a_warning_says_so(ask, caplog):
    answer = await ask(Known(COMMITTED), BODY, {"content-type": "application/json"}, secrets=())
    assert (answer.status, answer.headers) == (200, {"content-type": "application/json"})
    assert json.loads(answer.body) == {"results": [{"id": ONE, "outcome": "committed"}]}
    assert "answered to anybody" in caplog.text


def test_what_cannot_work_is_refused_when_the_program_starts():
    with pytest.raises(TypeError, match="secrets"):
        CheckResponder(Known({}))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="secrets is a list"):
        CheckResponder(Known({}), secrets=SECRET)
    with pytest.raises(BadSecret):
        CheckResponder(Known({}), secrets=["hunter2"])
    with pytest.raises(TypeError, match="no text: is the variable it is read from set"):
        CheckResponder(Known({}), secrets=[SECRET, None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="dict answers no checks"):
        CheckResponder({}, secrets=())  # type: ignore[arg-type]
    responder = CheckResponder(secrets=(), rules={"orders.paid": lambda _check: True})
    with pytest.raises(ValueError, match=r"orders\.paid has a rule already"):
        responder.rule("orders.paid")(lambda _check: False)
    with pytest.raises(TypeError, match="no function"):
        responder.rule("orders.created")(True)  # type: ignore[type-var]


async def test_a_responder_can_stand_where_a_barrier_can(way):
    known = Known({TWO: Outcome.COMMITTED})
    asked = Awaited(known) if way == "awaited" else known
    responder = CheckResponder(asked, secrets=[SECRET], rules={"orders.paid": lambda _check: False})
    checks = asked_about(ONE, topic="orders.paid") + asked_about(TWO, THREE)
    said = responder.check(checks)
    outcomes = await said if inspect.isawaitable(said) else said
    assert outcomes == {ONE: Outcome.ROLLED_BACK, TWO: Outcome.COMMITTED, THREE: Outcome.UNKNOWN}


def test_a_rule_stays_the_function_it_was():
    responder = CheckResponder(secrets=())

    @responder.rule("orders.paid")
    def paid(each: Any) -> bool:
        return each == "42"

    assert paid("42") is True
    assert responder.verdicts.blocking
