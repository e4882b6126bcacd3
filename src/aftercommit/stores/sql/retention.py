"""Forgetting settled messages row by row."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, case, cast, literal, or_, select

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
    limits = case(*((m.topic == topic, literal(at)) for topic, at in own.items()), else_=most) if own else literal(most)
    settled = m.status.in_(sorted(each.value for each in TERMINAL))
    found = await query(session, statements.dialect, walk.where(settled, m.settled_at <= limits).limit(limit))
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
