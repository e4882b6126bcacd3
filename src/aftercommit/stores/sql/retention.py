"""Forgetting settled messages row by row."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, case, cast, literal, literal_column, or_, select

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.lifecycle import TERMINAL
from aftercommit.domain.message import Message
from aftercommit.domain.policies import MS
from aftercommit.stores.columns import Tallied
from aftercommit.stores.sql.core import execute, query, tables
from aftercommit.stores.sql.folding import Folder
from aftercommit.stores.sql.session import Session
from aftercommit.stores.sql.statements import Statements

# Rows of the list that one call looks at, at most.
LOOKED_AT_MAX: Final = 50_000
DAY_MS: Final = 24 * 3600 * MS
# How long rows in a day's partition wait for the day to go as a whole, before they are deleted one by one after all.
_STRAGGLER_MS: Final = 2 * DAY_MS
# No such day will come: rows in PostgreSQL's default partition go one by one.
_IN_NO_DAY: Final = literal_column("message.tableoid") == literal_column("'message_rest'::regclass")

Place = tuple[int, str]


class Over(NamedTuple):
    """Messages to forget, and where to go on looking (None: from the beginning again)."""

    ids: list[str]
    go_on: Place | None


def over_at(catalog: Catalog, now: int) -> tuple[int, dict[int, int]]:
    """What was settled when, or before, is over: in most topics, and in those with a retention of their own."""
    most = now - round(catalog.policy(None).retention_seconds * MS)
    every = {each: now - round(catalog.policy(each).retention_seconds * MS) for each in catalog.topics}
    return most, {topic: at for topic, at in every.items() if at != most}


def is_over(m: Any, catalog: Catalog, now: int) -> ColumnElement[bool]:
    """Whether a message, by its columns `m`, is settled and kept by nobody. NULL where it is not settled."""
    return _settled(m, *over_at(catalog, now))


def _settled(m: Any, most: int, own: dict[int, int]) -> ColumnElement[bool]:
    limits = case(*((m.topic == topic, literal(at)) for topic, at in own.items()), else_=most) if own else literal(most)
    return and_(m.status.in_(sorted(each.value for each in TERMINAL)), m.settled_at <= limits)


def _left_to_rows(m: Any, catalog: Catalog, now: int) -> ColumnElement[bool]:
    """What of it PostgreSQL deletes row by row: all that no partition takes along, or has not for long.

    Retentions below a day are worth it: that much less is stored until the partition goes.
    """
    most, own = over_at(catalog, now)

    def late(at: int) -> int:
        return at if now - at < DAY_MS else at - _STRAGGLER_MS

    return or_(_settled(m, late(most), {topic: late(at) for topic, at in own.items()}), _IN_NO_DAY)


async def find_over(
    session: Session, statements: Statements, catalog: Catalog, now: int, limit: int, begin: Place | None
) -> Over:
    """Up to `limit` messages that nobody keeps any longer, oldest prepared first from `begin` on."""
    m: Any = tables(statements.dialect)["message"].c
    text = cast(m.id, Text) if statements.dialect == "postgresql" else m.id
    most, own = over_at(catalog, now)
    # Nothing is settled before it is prepared, so that nothing prepared later can be over.
    place: list[ColumnElement[bool]] = [m.prepared_at <= max([most, *own.values()])]
    if begin is not None:
        place.append(_from(m, begin))
    walk = select(m.prepared_at, text).where(*place).order_by(m.prepared_at, m.id)
    ends = await query(session, statements.dialect, walk.limit(1).offset(LOOKED_AT_MAX))
    end = (ends[0][0], ends[0][1]) if ends else None
    if end is not None:
        walk = walk.where(or_(m.prepared_at < end[0], and_(m.prepared_at == end[0], m.id < end[1])))
    walk = walk.where(is_over(m, catalog, now))
    if statements.dialect == "postgresql":
        walk = walk.where(_left_to_rows(m, catalog, now))
    found = await query(session, statements.dialect, walk.limit(limit))
    places = [(at, message_id) for at, message_id in found]
    return Over([message_id for _at, message_id in places], places[-1] if len(places) == limit else end)


async def remove(session: Session, statements: Statements, folder: Folder, ids: Sequence[str]) -> int:
    """Remove what of `ids` is settled and held by nobody, with everything that belongs to it; how many messages."""
    settled = [each for each in await folder.states(ids) if each.status in TERMINAL]
    if not settled:
        return 0
    gone = [each.id for each in settled]
    t: Any = tables(statements.dialect)
    for table, column in (("content", "id"), ("delivery", "message_id"), ("event", "message_id"), ("message", "id")):
        await execute(session, statements.dialect, t[table].delete().where(t[table].c[column].in_(gone)))
    await folder.add_tallies(_counted(settled))
    return len(settled)


def _counted(settled: Sequence[Message]) -> dict[Tallied, int]:
    changes: dict[Tallied, int] = {}
    for each in settled:
        changes[each.app, each.topic, each.status] = changes.get((each.app, each.topic, each.status), 0) - 1
    return changes


def _from(m: Any, place: Place) -> ColumnElement[bool]:
    at, message_id = place
    condition: ColumnElement[bool] = and_(m.prepared_at >= at, or_(m.prepared_at > at, m.id >= message_id))
    return condition
