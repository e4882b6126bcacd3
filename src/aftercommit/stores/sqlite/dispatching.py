"""The store's part in publishing to an outside broker: what to hand over, and what its answers do."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.advance import advance
from aftercommit.domain.message import DueKind, Message, Taken
from aftercommit.domain.step import Context
from aftercommit.ports.store import Dispatch
from aftercommit.stores.claims import Claims
from aftercommit.stores.due import due_at, longest_due
from aftercommit.stores.fold import Fold
from aftercommit.stores.sqlite import due, rows
from aftercommit.stores.sqlite.fold import write_changes, write_work


class Batch(NamedTuple):
    """What to publish now, and how many were given up instead because their budget is used up."""

    taken: list[Taken]
    parked: int

    @property
    def ids(self) -> list[str]:
        """The messages to publish."""
        return [each.message.id for each in self.taken]


def take(
    connection: sqlite3.Connection,
    context: Context,
    dispatch: Dispatch,
    claims: Claims,
    nobody_waits: Callable[[], bool],
) -> Batch:
    """Take due work that nobody publishes now; it is held in `claims` when this returns."""
    if nobody_waits():
        return Batch([], 0)
    folded = Fold(context)
    due_now = _due(connection, context.now, dispatch, claims)
    folded.keep(due_now)
    used_up = [each for each in due_now if dispatch.kind is DueKind.REDELIVER and _is_used_up(each, dispatch, context)]
    for each in used_up:
        folded.apply(c.Redelivered(id=each.id, subscription=dispatch.lane))
    write_changes(connection, folded.changes)
    parked = {each.id for each in used_up}
    free = [each for each in due_now if each.id not in parked]
    contents = rows.contents(connection, [each.id for each in free])
    # They were read with the version of their next write; the broker gets them as they stand.
    taken = [Taken(message=replace(each, version=each.version - 1), content=contents[each.id]) for each in free]
    claims.hold(each.id for each in free)
    return Batch(taken, len(used_up))


def settle(connection: sqlite3.Connection, context: Context, commands: Sequence[c.Command]) -> None:
    """Write what the broker answered. What was settled meanwhile stays as it is."""
    write_work(connection, context, commands)


def _due(connection: sqlite3.Connection, now: int, dispatch: Dispatch, claims: Claims) -> list[Message]:
    held = claims.held()
    kind, lane, limit = dispatch.kind, dispatch.lane, dispatch.limit
    if dispatch.ids is None:
        return due.due_messages(connection, kind, lane, now, limit=limit, without=held).messages
    named = rows.next_states(connection, [each for each in dispatch.ids if each not in held])
    ready = [each for each in named if (at := due_at(each, kind, lane)) is not None and at <= now]
    return longest_due(ready, kind, lane, limit, None).messages


def _is_used_up(message: Message, dispatch: Dispatch, context: Context) -> bool:
    return not advance(c.Redelivered(id=message.id, subscription=dispatch.lane), message, context).taken
