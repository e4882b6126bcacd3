"""What stands in which column: the names in the order of the values, whatever the database.

A message with one delivery, which is the rule, keeps it in its own row; several deliveries, or one that says something
its message does not, are rows of their own.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Delivery, DueKind, Message

# Which tally a message is counted in; and from which status (None: it is new) to which it goes.
Tallied: TypeAlias = tuple[int, int | None, Status]

# The columns of a message that every step may change; then those that only unusual lives use.
USUAL: Final = (
    "id",
    "app",
    "topic",
    "status",
    "version",
    "prepared_at",
    "confirmed_at",
    "settled_at",
    "due_kind",
    "due_lane",
    "due_at",
    "subscription",
    "attempts",
    "sent_at",
    "pulled_at",
)
RARE: Final = (
    "deliver_at",
    "checks",
    "checked_at",
    "error",
    "resolved_by",
    "replay_of",
    "refusals",
    "delivery_error",
    "delivery_rows",
)
NEVER_CHANGED: Final = frozenset({"id", "app", "topic", "prepared_at", "deliver_at", "replay_of"})
DELIVERY: Final = (
    "message_id",
    "position",
    "subscription",
    "status",
    "attempts",
    "refusals",
    "sent_at",
    "pulled_at",
    "settled_at",
    "error",
    "due_kind",
    "due_lane",
    "due_at",
)
EVENT: Final = ("message_id", "at", "event", "status", "attempt", "subscription", "actor", "detail")
# Kinds of due times that are a message's own; the others are its delivery's.
OF_MESSAGE: Final = frozenset({DueKind.CHECK, DueKind.SEND})

NO_RARE: Final = (None, 0, None, None, None, None, 0, None, 0)
_NO_DUE: Final = (None, None, None)
_NO_DELIVERY: Final = (None, 0, None, None)


def kept_inline(message: Message) -> Delivery | None:
    """The sole delivery where the message's own columns can tell all of it."""
    if len(message.deliveries) != 1:
        return None
    [sole] = message.deliveries
    if sole.status is not message.status or sole.settled_at != message.settled_at:
        return None
    if sole.due is not None and (message.due is not None or sole.due.kind in OF_MESSAGE):
        return None
    return sole


def usual_values(message: Message, sole: Delivery | None) -> tuple[object, ...]:
    """The values of `USUAL`; `sole` is the delivery that is kept inline."""
    due = message.due
    if due is None and sole is not None:
        due = sole.due
    return (
        message.id,
        message.app,
        message.topic,
        str(message.status),
        message.version,
        message.prepared_at,
        message.confirmed_at,
        message.settled_at,
        *((int(due.kind), due.lane, due.at) if due is not None else _NO_DUE),
        *((sole.subscription, sole.attempts, sole.sent_at, sole.pulled_at) if sole is not None else _NO_DELIVERY),
    )


def rare_values(message: Message, sole: Delivery | None) -> tuple[object, ...]:
    """The values of `RARE`."""
    return (
        message.deliver_at,
        message.checks,
        message.checked_at,
        message.error,
        message.resolved_by,
        message.replay_of,
        sole.refusals if sole is not None else 0,
        sole.error if sole is not None else None,
        len(message.deliveries) if sole is None else 0,
    )


def delivery_values(message_id: str, position: int, delivery: Delivery) -> tuple[object, ...]:
    """The values of `DELIVERY`."""
    due = delivery.due
    return (
        message_id,
        position,
        delivery.subscription,
        str(delivery.status),
        delivery.attempts,
        delivery.refusals,
        delivery.sent_at,
        delivery.pulled_at,
        delivery.settled_at,
        delivery.error,
        *((int(due.kind), due.lane, due.at) if due is not None else _NO_DUE),
    )


def changed_deliveries(message: Message, known: Message | None) -> Iterable[tuple[object, ...]]:
    """The values of the deliveries of `message` that are not as those of `known`, which are stored apart."""
    stored = known.deliveries if known is not None else ()
    for position, delivery in enumerate(message.deliveries):
        if position >= len(stored) or stored[position] != delivery:
            yield delivery_values(message.id, position, delivery)


def tally_changes(changed: Mapping[str, Message], stored: Mapping[str, Message]) -> dict[Tallied, int]:
    """What the states in `changed` over those in `stored` do to the counts."""
    moves: dict[tuple[int, int | None, Status | None, Status], int] = {}
    for message_id, each in changed.items():
        known = stored.get(message_id)
        move = (each.app, each.topic, None if known is None else known.status, each.status)
        moves[move] = moves.get(move, 0) + 1
    changes: dict[Tallied, int] = {}
    for (app, topic, before, after), count in moves.items():
        if before is not after:
            if before is not None:
                changes[app, topic, before] = changes.get((app, topic, before), 0) - count
            changes[app, topic, after] = changes.get((app, topic, after), 0) + count
    return {key: change for key, change in changes.items() if change}
