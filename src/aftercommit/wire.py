"""The JSON shapes of the protocol, shared by the API, the SDK and the check-back.

Requests refuse unknown fields; answers are read leniently by the SDK, so that a newer service may say more.
Times are RFC 3339 UTC with milliseconds. `UNSET` marks a field that was not sent.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

BATCH_ITEMS_MAX = 1000
PULL_MAX = 100
CHECKS_PER_CALL_MAX = 100


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a caller sends."""


class EmptyRequest(_Request, frozen=True):
    """A call with nothing to say but its address: no body, or `{}`."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the service answers; None is left out."""


# --- initiators ---------------------------------------------------------------------------------------------------


class PrepareRequest(_Request, frozen=True):
    """`POST /v1/messages`. Exactly one of `payload` (any JSON value, kept byte for byte) and `payload_base64`."""

    topic: str
    id: str | None = None
    payload: Raw | UnsetType = UNSET
    payload_base64: str | None = None
    content_type: str | None = None
    key: str | None = None
    headers: dict[str, str] | None = None
    delay_seconds: float | None = None
    deliver_at: str | None = None
    check_after_seconds: float | None = None
    check_hint: str | None = None
    confirmed: bool = False


class ConfirmRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/confirm`."""


class CancelRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/cancel`."""

    reason: str | None = None


class MessageStatus(_Answer, frozen=True):
    """The answer of every verb: the message and its present status."""

    id: str
    status: str


# --- consumers ----------------------------------------------------------------------------------------------------


class CompleteRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/complete`."""

    subscription: str | None = None


class FailRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/fail`."""

    reason: str
    subscription: str | None = None


class PullRequest(_Request, frozen=True):
    """`POST /v1/topics/{topic}/subscriptions/{name}/pull`. Waits up to `wait_seconds` while there is nothing."""

    max: int = 1
    wait_seconds: float = 0


class PulledMessage(_Answer, frozen=True, omit_defaults=False):
    """One delivery attempt. `payload` or `payload_base64`, as it was prepared."""

    id: str
    topic: str
    key: str | None
    headers: dict[str, str]
    content_type: str
    attempt: int
    sent_at: str | None
    payload: Raw | UnsetType = UNSET
    payload_base64: str | UnsetType = UNSET


class PullAnswer(_Answer, frozen=True):
    """What a pull brought, perhaps nothing."""

    messages: list[PulledMessage]


# --- batches ------------------------------------------------------------------------------------------------------


class BatchRequest(_Request, frozen=True):
    """`POST /v1/batch/{verb}`: items are read one by one, so that a bad one spoils no other."""

    items: list[Raw]


class ConfirmItem(_Request, frozen=True):
    """One confirm, or one status question, of a batch."""

    id: str


class CancelItem(_Request, frozen=True):
    """One cancel of a batch."""

    id: str
    reason: str | None = None


class CompleteItem(_Request, frozen=True):
    """One complete of a batch."""

    id: str
    subscription: str | None = None


class FailItem(_Request, frozen=True):
    """One fail of a batch."""

    id: str
    reason: str
    subscription: str | None = None


class ItemError(_Answer, frozen=True):
    """Why one item of a batch was refused. `status` is the message's, where it stood in the way."""

    code: str
    detail: str
    status: str | None = None


class ItemResult(_Answer, frozen=True):
    """One item's answer: `status`, or `error`."""

    id: str | None = None
    status: str | None = None
    error: ItemError | None = None


class BatchAnswer(_Answer, frozen=True):
    """One result per item, in order."""

    results: list[ItemResult]


# --- applications and topics --------------------------------------------------------------------------------------


class AppRequest(_Request, frozen=True):
    """`PUT /v1/apps/{app}`. `check_signed` left out: signed answers are required, except on a node without keys."""

    check_url: str | None = None
    check_signed: bool | None = None


class SecretAnswer(_Answer, frozen=True, omit_defaults=False):
    """A signing secret. `secret` is there once, in the answer that made it."""

    id: str
    created_at: str
    secret: str | UnsetType = UNSET


class AppAnswer(_Answer, frozen=True, omit_defaults=False):
    """A registered application."""

    app: str
    check_url: str | None
    check_signed: bool
    secrets: list[SecretAnswer]
    created_at: str


class SubscriptionRequest(_Request, frozen=True):
    """A subscription of a topic; `app` defaults to the caller."""

    name: str
    app: str | None = None
    push_url: str | None = None
    report: str | None = None
    policy: dict[str, Any] | None = None


class TopicRequest(_Request, frozen=True):
    """`PUT /v1/topics/{topic}`: the whole list of subscriptions; those missing from it are dropped."""

    subscriptions: list[SubscriptionRequest] | None = None
    policy: dict[str, Any] | None = None
    destination: dict[str, Any] | None = None
    force: bool = False


class SubscriptionAnswer(_Answer, frozen=True, omit_defaults=False):
    """A subscription with the policy in force."""

    name: str
    app: str
    implicit: bool
    policy: dict[str, Any]
    push_url: str | None = None
    report: str | None = None


class TopicAnswer(_Answer, frozen=True, omit_defaults=False):
    """A topic with the policy in force."""

    topic: str
    app: str
    paused: bool
    subscriptions: list[SubscriptionAnswer]
    policy: dict[str, Any]
    destination: dict[str, Any] | None
    created_at: str


class TopicsAnswer(_Answer, frozen=True):
    """`GET /v1/topics`."""

    topics: list[TopicAnswer]


# --- reading and operating ----------------------------------------------------------------------------------------


class DeliveryAnswer(_Answer, frozen=True, omit_defaults=False):
    """One message for one subscription. `next_at`: when something is next due on it."""

    subscription: str
    status: str
    attempts: int
    sent_at: str | None
    pulled_at: str | None
    settled_at: str | None
    next_at: str | None
    error: str | None


class TimelineEntry(_Answer, frozen=True):
    """One thing that happened to a message."""

    at: str
    event: str
    status: str
    attempt: int | None = None
    subscription: str | None = None
    actor: str | None = None
    detail: str | None = None


class MessageSummary(_Answer, frozen=True, omit_defaults=False):
    """A message in a list."""

    id: str
    app: str
    topic: str | None
    key: str | None
    status: str
    attempts: int
    checks: int
    prepared_at: str
    confirmed_at: str | None
    settled_at: str | None
    next_at: str | None
    error: str | None


class MessageAnswer(_Answer, frozen=True, omit_defaults=False):
    """`GET /v1/messages/{id}`."""

    id: str
    app: str
    topic: str | None
    key: str | None
    headers: dict[str, str]
    content_type: str | None
    status: str
    attempts: int
    checks: int
    check_hint: str | None
    prepared_at: str
    deliver_at: str | None
    confirmed_at: str | None
    sent_at: str | None
    settled_at: str | None
    next_at: str | None
    error: str | None
    resolved_by: str | None
    replay_of: str | None
    deliveries: list[DeliveryAnswer]
    timeline: list[TimelineEntry]
    payload: Raw | UnsetType = UNSET
    payload_base64: str | UnsetType = UNSET


class MessagesAnswer(_Answer, frozen=True, omit_defaults=False):
    """`GET /v1/messages`. A page may be short and still have a next one."""

    messages: list[MessageSummary]
    next_cursor: str | None


class ResolveRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/resolve`: `outcome` is `committed` or `rolled_back`."""

    outcome: str
    reason: str


class RecheckRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/recheck`."""


class RedeliverRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/redeliver`."""

    subscriptions: list[str] | None = None
    reason: str | None = None


class DiscardRequest(_Request, frozen=True):
    """`POST /v1/messages/{id}/discard`."""

    reason: str


class StatsRow(_Answer, frozen=True, omit_defaults=False):
    """Messages of one application and topic in one status."""

    app: str
    topic: str | None
    status: str
    count: int
    oldest_age_seconds: float | None


class StatsAnswer(_Answer, frozen=True, omit_defaults=False):
    """`GET /v1/stats`. `rates`: events per second over the last minute, on this node."""

    messages: list[StatsRow]
    totals: dict[str, int]
    rates: dict[str, float]


# --- check-back ---------------------------------------------------------------------------------------------------


class Check(_Answer, frozen=True, omit_defaults=False):
    """A question: what became of the local transaction of this message?"""

    id: str
    topic: str
    key: str | None
    hint: str | None
    prepared_at: str
    check: int


class CheckCall(_Answer, frozen=True, omit_defaults=False):
    """The body of the call to an initiator's check address."""

    checks: list[Check]
    type: str = "aftercommit.check"


class ChecksAnswer(_Answer, frozen=True):
    """`POST /v1/apps/{app}/checks/pull`."""

    checks: list[Check]


class ChecksPullRequest(_Request, frozen=True):
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


class ChecksRequest(_Request, frozen=True):
    """`POST /v1/apps/{app}/checks`."""

    results: list[AnsweredCheck]


# --- refusals -----------------------------------------------------------------------------------------------------


class Problem(_Answer, frozen=True):
    """RFC 9457 `application/problem+json`. `code` is stable. `pointer` is a JSON Pointer to the field at fault,
    `message_status` the status that stood in the way.
    """

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    pointer: str | None = None
    message_status: str | None = None
