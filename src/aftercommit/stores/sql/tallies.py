"""How many messages there are, and how old the oldest is that is not settled."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Select, func, literal_column, select, union_all

from aftercommit.domain.lifecycle import PARKED, Status
from aftercommit.domain.message import DueKind
from aftercommit.ports.store import DueLane, Tally
from aftercommit.stores.sql.core import query, tables
from aftercommit.stores.sql.session import Session
from aftercommit.stores.sql.statements import Statements

# How many messages are looked at per lane, longest due first, and per parked status, to find the oldest.
SAMPLE: Final = 500
# Lanes that one statement looks at.
_LANES: Final = 40


async def due_lanes(session: Session, statements: Statements, kind: DueKind) -> list[DueLane]:
    """The lanes in which work of a kind waits, with their oldest due times."""
    oldest: dict[int, int] = {}
    texts = [statements.lanes] if kind is DueKind.CHECK else [statements.lanes, statements.delivery_lanes]
    for text in texts:
        for lane, at in await session.rows(text, int(kind)):
            if at is not None:
                oldest[lane] = min(at, oldest.get(lane, at))
    return [DueLane(kind=kind, lane=lane, at=at) for lane, at in oldest.items()]


async def tallies(session: Session, statements: Statements) -> list[Tally]:
    """Counts from the table kept for it. The oldest is that of the messages due longest, which it nearly always is."""
    oldest: dict[tuple[int, int | None, Status], int] = {}
    samples = [*_parked(statements)]
    for kind in DueKind:
        samples += [_waiting(statements, kind, each.lane) for each in await due_lanes(session, statements, kind)]
    for start in range(0, len(samples), _LANES):
        for app, topic, status, at in await query(
            session, statements.dialect, union_all(*samples[start : start + _LANES])
        ):
            place = (app, topic, Status(status))
            oldest[place] = min(at, oldest.get(place, at))
    return [
        Tally(app=app, topic=topic, status=status, count=count, oldest_at=oldest.get((app, topic, status)))
        for app, topic, status, count in await _counts(session, statements)
    ]


async def _counts(session: Session, statements: Statements) -> Sequence[tuple[int, int | None, Status, int]]:
    t = tables(statements.dialect)["tally"].c
    total = func.sum(t.messages)
    found = await query(
        session,
        statements.dialect,
        select(t.app, t.topic, t.status, total).group_by(t.app, t.topic, t.status).having(total > 0),
    )
    return [(app, topic or None, Status(status), int(count)) for app, topic, status, count in found]


def _waiting(statements: Statements, kind: DueKind, lane: int) -> Select[Any]:
    """The oldest of the first that wait in a lane, by application, topic and status."""
    of_dialect = tables(statements.dialect)
    m, d = of_dialect["message"].c, of_dialect["delivery"].c
    first = _first(select(m.id.label("id")), m, kind, lane).subquery()
    ids: Any = first
    if kind is not DueKind.CHECK:
        apart = _first(select(d.message_id.label("id")), d, kind, lane).subquery()
        ids = union_all(select(first.c.id), select(apart.c.id)).subquery()
    return _oldest(m, ids)


def _first(statement: Select[Any], columns: Any, kind: DueKind, lane: int) -> Select[Any]:
    waiting = (columns.due_kind == int(kind), columns.due_lane == lane, columns.due_at.is_not(None))
    return statement.where(*waiting).order_by(columns.due_at).limit(SAMPLE)


def _parked(statements: Statements) -> Iterator[Select[Any]]:
    m = tables(statements.dialect)["message"].c
    column = "message.status" if statements.dialect == "postgresql" else "message.trouble"
    for status in sorted(PARKED):
        there = literal_column(column) == literal_column(f"'{status.value}'")
        ids = select(m.id).where(there).order_by(m.prepared_at, m.id).limit(SAMPLE).subquery()
        yield _oldest(m, ids)


def _oldest(m: Any, ids: Any) -> Select[Any]:
    return (
        select(m.app, m.topic, m.status, func.min(m.prepared_at))
        .where(m.id == ids.c.id)
        .group_by(m.app, m.topic, m.status)
    )
