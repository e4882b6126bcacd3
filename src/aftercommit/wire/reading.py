"""Messages as they are read, and what operators ask for."""

from msgspec import UNSET, Raw, UnsetType

from aftercommit.wire.shape import Answer, Request


class DeliveryAnswer(Answer, frozen=True, omit_defaults=False):
    """One message for one subscription. `next_at`: when something is next due on it."""

    subscription: str
    status: str
    attempts: int
    sent_at: str | None
    pulled_at: str | None
    settled_at: str | None
    next_at: str | None
    error: str | None


class TimelineEntry(Answer, frozen=True):
    """One thing that happened to a message."""

    at: str
    event: str
    status: str
    attempt: int | None = None
    subscription: str | None = None
    actor: str | None = None
    detail: str | None = None


class MessageSummary(Answer, frozen=True, omit_defaults=False):
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


class MessageAnswer(Answer, frozen=True, omit_defaults=False):
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


class MessagesAnswer(Answer, frozen=True, omit_defaults=False):
    """`GET /v1/messages`. A page may be short and still have a next one."""

    messages: list[MessageSummary]
    next_cursor: str | None


class ResolveRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/resolve`: `outcome` is `committed` or `rolled_back`."""

    outcome: str
    reason: str


class RecheckRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/recheck`."""


class RedeliverRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/redeliver`."""

    subscriptions: list[str] | None = None
    reason: str | None = None


class DiscardRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/discard`."""

    reason: str


class StatsRow(Answer, frozen=True, omit_defaults=False):
    """Messages of one application and topic in one status."""

    app: str
    topic: str | None
    status: str
    count: int
    oldest_age_seconds: float | None


class StatsAnswer(Answer, frozen=True, omit_defaults=False):
    """`GET /v1/stats`. `rates`: events per second over the last minute, on this node."""

    messages: list[StatsRow]
    totals: dict[str, int]
    rates: dict[str, float]
