"""Check-back: the questions and their answers."""

import msgspec

from aftercommit.wire.shape import Answer, Request


class Check(Answer, frozen=True, omit_defaults=False):
    """A question: what became of the local transaction of this message?"""

    id: str
    topic: str
    key: str | None
    hint: str | None
    prepared_at: str
    check: int


class CheckCall(Answer, frozen=True, omit_defaults=False):
    """The body of the call to an initiator's check address."""

    checks: list[Check]
    type: str = "aftercommit.check"


class ChecksAnswer(Answer, frozen=True):
    """`POST /v1/apps/{app}/checks/pull`."""

    checks: list[Check]


class ChecksPullRequest(Request, frozen=True):
    """`POST /v1/apps/{app}/checks/pull`."""

    max: int = 100
    wait_seconds: float = 0


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to one check: `committed`, `rolled_back` or `unknown`."""

    id: str
    outcome: str


class CheckResults(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a check-back call."""

    results: list[CheckResult]


class AnsweredCheck(CheckResult, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`CheckResult` as the API reads it: strictly, like every request."""


class ChecksRequest(Request, frozen=True):
    """`POST /v1/apps/{app}/checks`."""

    results: list[AnsweredCheck]
