"""The transition table: every status, every event, and what the one does to the other.

This is the only place that knows statuses. Stores compare-and-set what `decide` allows, the API answers what it
refuses, and `docs/lifecycle.md` draws it.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias


class Status(StrEnum):
    """Where a message, or one delivery of it, stands. The words are the protocol's (section 2)."""

    PENDING_CONFIRMATION = "pending_confirmation"
    PENDING_SEND = "pending_send"
    SENT = "sent"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    UNDECIDED = "undecided"
    UNDELIVERED = "undelivered"


class Event(StrEnum):
    """Everything that can happen to a stored message. `prepare` of a new id is no event: nothing is stored yet."""

    CONFIRM = "confirm"
    CANCEL = "cancel"
    CHECK_COMMITTED = "check_committed"
    CHECK_ROLLED_BACK = "check_rolled_back"
    CHECK_UNKNOWN = "check_unknown"
    CHECKS_USED_UP = "checks_used_up"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    PULL = "pull"
    REDELIVERY_DUE = "redelivery_due"
    DELIVERIES_USED_UP = "deliveries_used_up"
    COMPLETE = "complete"
    FAIL = "fail"
    RESOLVE_COMMITTED = "resolve_committed"
    RESOLVE_ROLLED_BACK = "resolve_rolled_back"
    RECHECK = "recheck"
    REDELIVER = "redeliver"
    DISCARD = "discard"


class Refusal(StrEnum):
    """Why an event was refused; the stable `code` a caller sees. One name per way to be wrong."""

    UNKNOWN_MESSAGE = "unknown_message"
    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    SUBSCRIPTION_REQUIRED = "subscription_required"
    ID_CONFLICT = "id_conflict"
    ROLLED_BACK = "rolled_back"
    ALREADY_CONFIRMED = "already_confirmed"
    NOT_DELIVERED = "not_delivered"
    INVALID_TRANSITION = "invalid_transition"
    # The one that says nothing about the message: somebody else had it locked, and the same call may succeed.
    BUSY = "busy"


class Move(NamedTuple):
    """The event is allowed; the status becomes `to` (which may be the status it had)."""

    to: Status


class Already(NamedTuple):
    """The event happened before: the caller hears the present status, nothing is written."""


class Refused(NamedTuple):
    """The event is not allowed in this status."""

    why: Refusal


class Replay(NamedTuple):
    """The message is settled; sending it again means a new message linked to this one."""


Decision: TypeAlias = Move | Already | Refused | Replay

LIVE: Final = frozenset({Status.PENDING_CONFIRMATION, Status.PENDING_SEND, Status.SENT})
TERMINAL: Final = frozenset({Status.COMPLETED, Status.ROLLED_BACK, Status.FAILED})
PARKED: Final = frozenset({Status.UNDECIDED, Status.UNDELIVERED})
UNCONFIRMED: Final = frozenset({Status.PENDING_CONFIRMATION, Status.UNDECIDED})
OPEN_DELIVERY: Final = frozenset({Status.PENDING_SEND, Status.SENT, Status.UNDELIVERED})

# A message shows the first of these that any of its deliveries has.
_DELIVERY_ORDER: Final = (
    Status.PENDING_SEND,
    Status.SENT,
    Status.UNDELIVERED,
    Status.FAILED,
    Status.COMPLETED,
)

_ALREADY: Final = Already()
_REPLAY: Final = Replay()
_NOT_DELIVERED: Final = Refused(Refusal.NOT_DELIVERED)
_ROLLED_BACK: Final = Refused(Refusal.ROLLED_BACK)
_CONFIRMED: Final = Refused(Refusal.ALREADY_CONFIRMED)
_INVALID: Final = Refused(Refusal.INVALID_TRANSITION)


def _row(default: Decision, **cells: Decision) -> dict[Status, Decision]:
    return {status: cells.get(status.name.lower(), default) for status in Status}


_COMMITTED: Final = _row(
    _ALREADY,
    pending_confirmation=Move(Status.PENDING_SEND),
    undecided=Move(Status.PENDING_SEND),
    rolled_back=_ROLLED_BACK,
)
_CANCELLED: Final = _row(
    _CONFIRMED,
    pending_confirmation=Move(Status.ROLLED_BACK),
    undecided=Move(Status.ROLLED_BACK),
    rolled_back=_ALREADY,
)
_TABLE: Final[Mapping[Event, Mapping[Status, Decision]]] = {
    Event.CONFIRM: _COMMITTED,
    Event.CHECK_COMMITTED: _COMMITTED,
    Event.CANCEL: _CANCELLED,
    Event.CHECK_ROLLED_BACK: _CANCELLED,
    Event.CHECK_UNKNOWN: _row(
        _INVALID,
        pending_confirmation=Move(Status.PENDING_CONFIRMATION),
        undecided=Move(Status.UNDECIDED),
    ),
    Event.CHECKS_USED_UP: _row(_INVALID, pending_confirmation=Move(Status.UNDECIDED)),
    Event.ACCEPTED: _row(_INVALID, pending_send=Move(Status.SENT)),
    Event.REFUSED: _row(_INVALID, pending_send=Move(Status.UNDELIVERED)),
    Event.PULL: _row(_INVALID, sent=Move(Status.SENT)),
    Event.REDELIVERY_DUE: _row(_INVALID, sent=Move(Status.SENT)),
    Event.DELIVERIES_USED_UP: _row(_INVALID, sent=Move(Status.UNDELIVERED)),
    Event.COMPLETE: _row(
        _NOT_DELIVERED,
        pending_send=Move(Status.COMPLETED),
        sent=Move(Status.COMPLETED),
        undelivered=Move(Status.COMPLETED),
        completed=_ALREADY,
        failed=_INVALID,
    ),
    Event.FAIL: _row(
        _NOT_DELIVERED,
        pending_send=Move(Status.FAILED),
        sent=Move(Status.FAILED),
        undelivered=Move(Status.FAILED),
        failed=_ALREADY,
        completed=_INVALID,
    ),
    Event.RESOLVE_COMMITTED: _row(_INVALID, undecided=Move(Status.PENDING_SEND)),
    Event.RESOLVE_ROLLED_BACK: _row(_INVALID, undecided=Move(Status.ROLLED_BACK)),
    Event.RECHECK: _row(
        _INVALID,
        pending_confirmation=Move(Status.PENDING_CONFIRMATION),
        undecided=Move(Status.UNDECIDED),
    ),
    Event.REDELIVER: _row(
        _INVALID,
        undelivered=Move(Status.PENDING_SEND),
        pending_send=Move(Status.PENDING_SEND),
        sent=Move(Status.SENT),
        failed=_REPLAY,
        completed=_REPLAY,
    ),
    Event.DISCARD: _row(
        _INVALID,
        pending_send=Move(Status.FAILED),
        sent=Move(Status.FAILED),
        undelivered=Move(Status.FAILED),
    ),
}


def decide(event: Event, status: Status) -> Decision:
    """What `event` does to a message or delivery in `status`. Pure and total: every pair has an answer."""
    return _TABLE[event][status]


def message_status(deliveries: Iterable[Status]) -> Status:
    """The status of a message from those of its deliveries (at least one)."""
    present = set(deliveries)
    return next(status for status in _DELIVERY_ORDER if status in present)
