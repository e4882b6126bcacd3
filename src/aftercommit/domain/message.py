"""The records: what a message is, what is due on it, what happened to it.

Times are integers, milliseconds since 1970 UTC. Records are frozen msgspec structs: they are made and decoded in C, and
this service makes a handful per message.
"""

from enum import IntEnum, StrEnum

import msgspec

from aftercommit.domain.lifecycle import Refusal, Status


class DueKind(IntEnum):
    """What is to be done when a due time comes. The lane beside it says for whom."""

    CHECK = 1  # lane: application
    SEND = 2  # lane: topic
    PULL = 3  # lane: subscription; may be pulled from the built-in broker
    REDELIVER = 4  # lane: subscription; an outside broker gets it again
    EXPIRE = 5  # lane: subscription; the last attempt's interval passes


class Due(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Work waiting for its time."""

    kind: DueKind
    lane: int
    at: int


class PayloadForm(StrEnum):
    """How the payload came and goes: a JSON value, or bytes as base64."""

    JSON = "json"
    BYTES = "bytes"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message for one subscription. Budgets and attempts belong to it."""

    subscription: int
    status: Status
    attempts: int = 0
    refusals: int = 0
    sent_at: int | None = None
    pulled_at: int | None = None
    settled_at: int | None = None
    error: str | None = None
    due: Due | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in a message's life. `version` counts its writes from 1; `topic` is None for a tombstone."""

    id: str
    app: int
    topic: int | None
    status: Status
    version: int = 1
    prepared_at: int
    deliver_at: int | None = None
    confirmed_at: int | None = None
    settled_at: int | None = None
    checks: int = 0
    checked_at: int | None = None
    error: str | None = None
    resolved_by: str | None = None
    replay_of: str | None = None
    due: Due | None = None
    deliveries: tuple[Delivery, ...] = ()


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What never changes: the bytes to deliver and what travels with them.

    `headers` keeps the initiator's order. `fingerprint` is the digest of everything a repeated prepare is compared by.
    """

    content_type: str
    form: PayloadForm
    payload: bytes
    fingerprint: bytes
    key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    check_hint: str | None = None
    traceparent: str | None = None


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a message's history that its own columns do not already tell."""

    message_id: str
    at: int
    event: str
    status: Status
    attempt: int | None = None
    subscription: int | None = None
    actor: str | None = None
    detail: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one command: the present status, or why it was refused (then `status` is what stood in the way).

    `message` is the state after the command where one exists; `changed` says whether this command wrote it.
    """

    id: str
    status: Status | None = None
    refusal: Refusal | None = None
    detail: str = ""
    changed: bool = False
    created: bool = False
    message: Message | None = None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One claimed message, as it stands after the claim. `content` comes along only where it is needed: with checks,
    pulls and what is published.
    """

    message: Message
    content: Content | None = None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim brought, oldest first. `next_at`: when the lane's next work is due (None: nothing waits).

    `seen` counts the due work looked at; where it reaches the claim's limit, more may be due already. `parked` counts
    what was written but kept from the claimant, because its budget is used up.
    """

    taken: tuple[Taken, ...] = ()
    seen: int = 0
    parked: int = 0
    next_at: int | None = None
