"""The service's half of check-back, with the scheme's own package for the signatures, and barriers to answer from."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.web import WebAnswer
from aftercommit.signatures import new_secret
from aftercommit.wire import Check

SECRET, NEWER, OTHER = new_secret(b"s" * 24), new_secret(b"n" * 32), new_secret(b"o" * 64)
CALL_ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
ONE, TWO, THREE = (f"01a20845-a5a1-72c7-be83-0cfa850d499{n}" for n in range(3))


def check(message_id: str = ONE, topic: str = "orders.created", **fields: Any) -> dict[str, Any]:
    """A question as it is sent."""
    return {
        "id": message_id,
        "topic": topic,
        "key": None,
        "hint": None,
        "prepared_at": "2026-01-02T03:04:05.678Z",
        "check": 1,
        **fields,
    }


def asked_about(*message_ids: str, topic: str = "orders.created") -> list[Check]:
    """Questions as they are pulled."""
    return [Check(**check(each, topic)) for each in message_ids]


def call(*checks: dict[str, Any], **fields: Any) -> bytes:
    """The body of a check-back call."""
    return json.dumps({"type": "aftercommit.check", "checks": list(checks), **fields}).encode()


def signed(body: bytes, *secrets: str, at: datetime | None = None) -> dict[str, str]:
    """The headers of a call, signed with these secrets (SECRET without any)."""
    moment = at or datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "Webhook-Id": CALL_ID,
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": " ".join(
            Webhook(each).sign(CALL_ID, moment, body.decode()) for each in secrets or (SECRET,)
        ),
    }


def heard(answer: WebAnswer, *secrets: str) -> dict[str, str]:
    """The outcomes in an answer, which every one of the secrets (SECRET without any) must verify."""
    assert answer.status == 200, answer.body
    return read(answer.body, answer.headers, *secrets)


def read(body: bytes, headers: Mapping[str, str], *secrets: str) -> dict[str, str]:
    """The outcomes in a body, each id once."""
    names = {name.lower(): value for name, value in headers.items()}
    assert names["content-type"] == "application/json"
    assert names["webhook-id"] == CALL_ID
    for each in secrets or (SECRET,):
        Webhook(each).verify(body, names)
    results = json.loads(body)["results"]
    outcomes = {each["id"]: each["outcome"] for each in results}
    assert len(outcomes) == len(results)
    return outcomes


class Known:
    """A barrier that knows these outcomes, and remembers what it was asked."""

    def __init__(self, outcomes: Mapping[str, Any] | Exception) -> None:
        self.outcomes = outcomes
        self.asked: list[list[str]] = []

    def check(self, checks: Sequence[Check]) -> Mapping[str, Outcome]:
        """What is known, or the error."""
        self.asked.append([each.id for each in checks])
        if isinstance(self.outcomes, Exception):
            raise self.outcomes
        return self.outcomes


class Awaited:
    """The same, awaitable."""

    def __init__(self, known: Known) -> None:
        self.known = known

    async def check(self, checks: Sequence[Check]) -> Mapping[str, Outcome]:
        """What is known, or the error."""
        return self.known.check(checks)
