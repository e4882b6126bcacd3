"""What is due in a lane, from the records alone."""

from collections.abc import Iterable
from typing import NamedTuple

from aftercommit.domain.message import DueKind, Message


class Due(NamedTuple):
    """What is due in a lane, the longest due first, then by id; and when the first that was left over is due."""

    messages: list[Message]
    next_at: int | None


def longest_due(messages: Iterable[Message], kind: DueKind, lane: int, limit: int, next_at: int | None) -> Due:
    """The first `limit` of messages that are due, where those that are not among them are due at `next_at`."""
    timed = [(at, each.id, each) for each in messages if (at := due_at(each, kind, lane)) is not None]
    timed.sort()
    left_over = [at for at, _id, _each in timed[limit : limit + 1]]
    return Due([each for _at, _id, each in timed[:limit]], earliest((next_at, *left_over)))


def earliest(times: Iterable[int | None]) -> int | None:
    """The first of the times that there are."""
    return min((each for each in times if each is not None), default=None)


def due_at(message: Message, kind: DueKind, lane: int) -> int | None:
    """When a message's first work of that kind and lane is due."""
    due = message.due
    first = due.at if due is not None and due.kind is kind and due.lane == lane else None
    for each in message.deliveries:
        due = each.due
        if due is not None and due.kind is kind and due.lane == lane and (first is None or due.at < first):
            first = due.at
    return first
