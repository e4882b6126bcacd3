"""Check-back: everything that is no proper, and where it must be, properly signed, answer means "unknown"."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from tests.e2e.caller import Caller
from tests.e2e.initiator import JSON_HEADERS, Asked, Initiator, Reply, always, verdicts
from tests.e2e.names import fresh
from tests.e2e.node import Node
from tests.e2e.waiting import await_status

CHECKS = 2
QUICK = {
    "check_after_seconds": 0.05,
    "check_interval_seconds": 0.05,
    "check_interval_max_seconds": 5,
    "checks_max": CHECKS,
}
# A late answer takes as long as the service waits; once is enough.
PATIENT = QUICK | {"checks_max": 1}


def _committed(asked: Asked) -> bytes:
    return always("committed")(asked).body


def _with(**fields: object) -> Callable[[Asked], Reply]:
    """A proper answer with one thing wrong."""
    return lambda asked: Reply(**{"body": _committed(asked), **fields})  # type: ignore[arg-type]


def _body(make: Callable[[list[str]], object]) -> Callable[[Asked], Reply]:
    return lambda asked: Reply(body=json.dumps(make(asked.ids)).encode())


WRONG_ANSWERS: dict[str, Callable[[Asked], Reply]] = {
    "html": _with(headers={"Content-Type": "text/html"}, body=b"<html>200 OK, parked domain</html>"),
    "committed in html": _with(headers={"Content-Type": "text/html"}),
    "no content type": _with(headers={}),
    "500": _with(status=500),
    "201": _with(status=201),
    "204": lambda asked: Reply(status=204, headers={}),
    "404": _with(status=404),
    "301": _with(status=301, headers={"Location": "/committed", **JSON_HEADERS}),
    "302": _with(status=302, headers={"Location": "/committed", **JSON_HEADERS}),
    "307": _with(status=307, headers={"Location": "/committed", **JSON_HEADERS}),
    "over 64 KiB": lambda asked: Reply(body=_committed(asked) + b" " * 70_000),
    "endless": lambda asked: Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b" " * 9_000_000),
    "gzip": _with(headers={"Content-Encoding": "gzip", **JSON_HEADERS}),
    "not http": lambda asked: Reply(raw=b"committed\r\n\r\n"),
    "cut off": lambda asked: Reply(
        raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + _committed(asked)
    ),
    "hung up": lambda asked: Reply(raw=b""),
    "empty": _with(body=b""),
    "truncated": lambda asked: Reply(body=_committed(asked)[:-1]),
    "twice": lambda asked: Reply(body=_committed(asked) * 2),
    "not utf-8": lambda asked: Reply(body=_committed(asked).replace(b"results", b"r\xffsults")),
    "nested": _with(body=b'{"results": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    "null": _with(body=b"null"),
    "list": _body(lambda ids: [{"id": each, "outcome": "committed"} for each in ids]),
    "no results": _body(lambda ids: {"results": []}),
    "missing id": _body(lambda ids: {"results": [{"outcome": "committed"} for _ in ids]}),
    "other id": _body(lambda ids: {"results": [{"id": each[::-1], "outcome": "committed"} for each in ids]}),
    "upper case id": _body(lambda ids: {"results": [{"id": each.upper(), "outcome": "committed"} for each in ids]}),
    "true": _body(lambda ids: {"results": [{"id": each, "outcome": True} for each in ids]}),
    "other word": _body(lambda ids: {"results": [{"id": each, "outcome": "COMMITTED"} for each in ids]}),
    "unknown": always("unknown"),
}
LATE = "late"


@pytest.fixture(scope="module")
def asked_everywhere(node: Node) -> Iterator[dict[str, tuple[str, str]]]:
    """One application and message per wrong answer, all asked about at the same time: name -> (app, message id)."""

    def answer(asked: Asked) -> Reply:
        name = asked.path.rsplit("/", 1)[-1].replace("_", " ")
        if name == "committed":
            return always("committed")(asked)
        if name == LATE:
            initiator.closing.wait(5.6)
            return always("committed")(asked)
        return WRONG_ANSWERS[name](asked)

    with Initiator(answer) as initiator:
        yield {
            name: _asked_about(node, f"http://127.0.0.1:{initiator.port}/{name.replace(' ', '_')}", name)
            for name in (LATE, *WRONG_ANSWERS)
        }


def _asked_about(node: Node, url: str, name: str) -> tuple[str, str]:
    app, topic = fresh("careless-"), fresh("doubts.")
    with node.caller(app) as caller:
        caller.put(f"/v1/apps/{app}", {"check_url": url, "check_signed": False}).require(201)
        caller.put_topic(topic, policy=PATIENT if name == LATE else QUICK).require(201)
        return app, caller.prepare(topic).require(201)["id"]


@pytest.mark.parametrize("name", [*WRONG_ANSWERS, LATE])
def test_a_wrong_answer_means_unknown_until_the_budget_is_used_up(
    node: Node, asked_everywhere: dict[str, tuple[str, str]], name: str
) -> None:
    app, message_id = asked_everywhere[name]
    with node.caller(app) as caller:
        assert await_status(caller, message_id, "undecided", "pending_send", "sent", "rolled_back") == "undecided"
        assert caller.message(message_id)["checks"] == (1 if name == LATE else CHECKS)


class Signed:
    """An initiator that verifies what it is asked and signs what it answers, with the library of Standard Webhooks."""

    def __init__(self, *secrets: str) -> None:
        self.secrets = list(secrets)
        self.verified = 0

    def __call__(self, asked: Asked) -> Reply:
        self.verify(asked)
        return self.signed(asked, asked.headers["webhook-id"], self.secrets[-1])

    def verify(self, asked: Asked) -> None:
        """Raise unless every secret fits one of the signatures."""
        for secret in self.secrets:
            assert Webhook(secret).verify(asked.body, dict(asked.headers))["type"] == "aftercommit.check"
            self.verified += 1

    def signed(self, asked: Asked, webhook_id: str, secret: str, at: datetime | None = None) -> Reply:
        """ "committed", signed over that id with that secret."""
        body = _committed(asked)
        at = at or datetime.now(UTC)
        headers = {
            **JSON_HEADERS,
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(webhook_id, at, body.decode()),
        }
        return Reply(headers=headers, body=body)


@pytest.fixture
def secret(orders: Caller) -> str:
    """The signing secret of `orders`, which insists on signed answers."""
    made = orders.put(f"/v1/apps/{orders.app}", {"check_signed": True}).require(201)
    secret: str = made["secrets"][0]["secret"]
    assert secret.startswith("whsec_")
    shown_again = orders.put(f"/v1/apps/{orders.app}", {"check_signed": True}).require(200)
    assert secret not in json.dumps(shown_again)
    assert secret not in json.dumps(orders.get(f"/v1/apps/{orders.app}").require(200))
    return secret


def _one_message(orders: Caller, topic: str, initiator: Initiator) -> str:
    orders.put(f"/v1/apps/{orders.app}", {"check_url": initiator.url, "check_signed": True}).require(200)
    orders.put_topic(topic, policy=QUICK).require(200, 201)
    message_id: str = orders.prepare(topic).require(201)["id"]
    return message_id


def test_a_signed_answer_to_a_signed_question_counts(orders: Caller, topic: str, secret: str) -> None:
    signed = Signed(secret)
    with Initiator(signed) as initiator:
        message_id = _one_message(orders, topic, initiator)
        await_status(orders, message_id, "sent")
    assert signed.verified == 1


def test_two_secrets_are_good_during_a_rotation(orders: Caller, topic: str, secret: str) -> None:
    newer = orders.post(f"/v1/apps/{orders.app}/secrets").require(200, 201)["secret"]
    for answers_with in ([secret, newer], [newer, secret]):
        signed = Signed(*answers_with)
        with Initiator(signed) as initiator:
            await_status(orders, _one_message(orders, topic, initiator), "sent")
        assert signed.verified == 2, "Each question is signed with both secrets."
    third = orders.post(f"/v1/apps/{orders.app}/secrets").require(200, 201)["secret"]
    with Initiator(Signed(third, newer)) as initiator:
        await_status(orders, _one_message(orders, topic, initiator), "sent")


OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
BADLY_SIGNED: dict[str, Callable[[Signed, Asked], Reply]] = {
    "not signed": lambda signed, asked: verdicts(dict.fromkeys(asked.ids, "committed")),
    "another secret": lambda signed, asked: signed.signed(asked, asked.headers["webhook-id"], OTHER_SECRET),
    "another webhook-id": lambda signed, asked: signed.signed(asked, "msg_other", signed.secrets[0]),
    "an hour old": lambda signed, asked: signed.signed(
        asked, asked.headers["webhook-id"], signed.secrets[0], datetime.now(UTC) - timedelta(hours=1)
    ),
    "changed after signing": lambda signed, asked: Reply(headers=signed(asked).headers, body=_committed(asked) + b" "),
    "the question's own signature": lambda signed, asked: Reply(
        headers={
            **JSON_HEADERS,
            **{name: value for name, value in asked.headers.items() if name.startswith("webhook-")},
        },
        body=_committed(asked),
    ),
}


@pytest.fixture(scope="module")
def asked_signed(node: Node) -> Iterator[dict[str, tuple[str, str]]]:
    """The same for badly signed answers: name -> (app, message id)."""
    signed: dict[str, Signed] = {}

    def answer(asked: Asked) -> Reply:
        name = asked.path.rsplit("/", 1)[-1].replace("_", " ")
        return BADLY_SIGNED[name](signed[name], asked)

    def asked_about(name: str, port: int) -> tuple[str, str]:
        app, topic = fresh("insists-"), fresh("doubts.")
        url = f"http://127.0.0.1:{port}/{name.replace(' ', '_')}"
        with node.caller(app) as caller:
            made = caller.put(f"/v1/apps/{app}", {"check_url": url, "check_signed": True}).require(201)
            signed[name] = Signed(made["secrets"][0]["secret"])
            caller.put_topic(topic, policy=QUICK).require(201)
            return app, caller.prepare(topic).require(201)["id"]

    with Initiator(answer) as initiator:
        yield {name: asked_about(name, initiator.port) for name in BADLY_SIGNED}


@pytest.mark.parametrize("name", BADLY_SIGNED)
def test_a_badly_signed_answer_means_unknown(node: Node, asked_signed: dict[str, tuple[str, str]], name: str) -> None:
    app, message_id = asked_signed[name]
    with node.caller(app) as caller:
        assert await_status(caller, message_id, "undecided", "pending_send", "sent") == "undecided"
        assert caller.message(message_id)["checks"] == CHECKS
