"""The catalogue's tables, and what messages say to its edits."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import func, literal_column, select, text, union

from aftercommit.domain.catalog import App, Catalog, CatalogEdit, Subscription, Topic
from aftercommit.domain.errors import Conflict
from aftercommit.domain.lifecycle import LIVE, OPEN_DELIVERY, PARKED, Status
from aftercommit.domain.message import DueKind
from aftercommit.domain.operation import dropped
from aftercommit.domain.step import Context
from aftercommit.stores.fold import Fold, answered_later
from aftercommit.stores.sql.core import execute, query, tables
from aftercommit.stores.sql.folding import Folder
from aftercommit.stores.sql.rows import encode
from aftercommit.stores.sql.session import Collision, Session
from aftercommit.stores.sql.statements import CATALOG_VERSION, Statements

# Open deliveries of a dropped subscription that are discarded together.
_DISCARDED_AT_ONCE: Final = 500
_NEXT_ID: Final = "next_id"
_VERSION: Final = "catalog"


async def version(session: Session) -> int:
    """How often the catalogue was edited."""
    [[found]] = await session.rows(CATALOG_VERSION)
    return int(found)


async def load(session: Session, dialect: str) -> Catalog:
    """The catalogue as it is stored."""
    t = tables(dialect)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("app", "topic", "subscription"):
        names = [str(each.name) for each in t[name].c]
        found[name] = [
            dict(zip(names, row, strict=True))
            for row in await query(session, dialect, select(t[name]).order_by(t[name].c.id))
        ]
    facts = await query(session, dialect, select(t["fact"].c.value).where(t["fact"].c.name == _NEXT_ID))
    return Catalog.of(
        [msgspec.convert(_decoded(each, "secrets"), App, strict=False) for each in found["app"]],
        [_frozen(msgspec.convert(_decoded(each, "policy", "destination"), Topic)) for each in found["topic"]],
        [
            _frozen(msgspec.convert(_decoded(each, "policy"), Subscription, strict=False))
            for each in found["subscription"]
        ],
        facts[0][0],
    )


class Edit:
    """One edit of the catalogue, in a transaction that keeps every other edit waiting."""

    def __init__(self, session: Session, statements: Statements, context: Context, stripe: int) -> None:
        self._session = session
        self._statements = statements
        self._context = context
        self._stripe = stripe

    async def apply(self, before: Catalog, edit: CatalogEdit) -> bool:
        """Keep an edit, or raise `Conflict` where messages are in the way. The context has the edited catalogue.

        Returns whether it changes anything: then the catalogue has its next version.
        """
        for topic in edit.removed_topics:
            unsettled = await self._unsettled(topic)
            if unsettled:
                name = edit.catalog.topics[topic].name
                raise Conflict("topic_in_use", f"Topic {name!r} still has {unsettled} messages that are not settled.")
        if edit.force:
            await self._discard_open_deliveries(edit.dropped_subscriptions)
        for subscription in edit.dropped_subscriptions:
            if await self._open_deliveries([subscription]):
                name = edit.catalog.subscriptions[subscription].name
                raise Conflict("subscription_in_use", f"Subscription {name!r} still has open deliveries.")
        return await self._save(before, edit.catalog)

    async def _unsettled(self, topic: int) -> int:
        tally = tables(self._statements.dialect)["tally"]
        unsettled = sorted(each.value for each in LIVE | PARKED)
        counted = select(func.sum(tally.c.messages)).where(tally.c.topic == topic, tally.c.status.in_(unsettled))
        [[count]] = await query(self._session, self._statements.dialect, counted)
        return int(count or 0)

    async def _discard_open_deliveries(self, subscriptions: Sequence[int]) -> None:
        # Some messages at a time, so that a million of them need no more memory; each message is written once.
        while ids := await self._open_deliveries(subscriptions):
            fold = Fold(self._context)
            folder = Folder(self._session, self._statements, fold, now=self._context.now, stripe=self._stripe)
            await answered_later(fold.load(ids), folder.answer)
            free = [each for each in ids if each not in fold.busy]
            outcomes = [fold.apply(dropped(each, subscription)) for subscription in subscriptions for each in free]
            if not any(each.changed for each in outcomes):
                raise Collision(f"{len(ids)} messages with open deliveries are held by others, {ids[0]} the first.")
            await folder.write(fold.changes)

    async def _open_deliveries(self, subscriptions: Sequence[int]) -> list[str]:
        """Some of the messages with an open delivery of these subscriptions: each way to be open has its index."""
        if not subscriptions:
            return []
        t = tables(self._statements.dialect)
        m, d = t["message"].c, t["delivery"].c
        topics = {self._context.catalog.subscriptions[each].topic for each in subscriptions}
        mine = m.subscription.in_(list(subscriptions))
        lane = [int(each) for each in (DueKind.PULL, DueKind.REDELIVER, DueKind.EXPIRE)]
        trouble = "status" if self._statements.dialect == "postgresql" else "trouble"
        open_ = ", ".join(sorted(repr(each.value) for each in OPEN_DELIVERY))
        found = union(
            select(m.id).where(
                m.due_kind == int(DueKind.SEND), m.due_at.is_not(None), m.due_lane.in_(sorted(topics)), mine
            ),
            select(m.id).where(m.due_kind.in_(lane), m.due_at.is_not(None), m.due_lane.in_(list(subscriptions))),
            select(m.id).where(
                literal_column(f"message.{trouble}") == literal_column(f"'{Status.UNDELIVERED.value}'"), mine
            ),
            select(d.message_id.label("id")).where(
                text(f"delivery.status IN ({open_})"), d.subscription.in_(list(subscriptions))
            ),
        ).limit(_DISCARDED_AT_ONCE)
        return [str(row[0]) for row in await query(self._session, self._statements.dialect, found)]

    async def _save(self, before: Catalog, after: Catalog) -> bool:
        if before == after:
            return False
        for app in after.apps.values():
            if before.apps.get(app.id) != app:
                await self._put("app", _encoded(app, "secrets"), new=app.id not in before.apps)
        for topic in after.topics.values():
            if before.topics.get(topic.id) != topic:
                await self._put("topic", _encoded(topic, "policy", "destination"), new=topic.id not in before.topics)
        for each in after.subscriptions.values():
            if before.subscriptions.get(each.id) != each:
                await self._put("subscription", _encoded(each, "policy"), new=each.id not in before.subscriptions)
        fact = tables(self._statements.dialect)["fact"]
        await self._execute(fact.update().where(fact.c.name == _NEXT_ID).values(value=after.next_id))
        await self._execute(fact.update().where(fact.c.name == _VERSION).values(value=fact.c.value + 1))
        return True

    async def _put(self, name: str, values: dict[str, Any], *, new: bool) -> None:
        table = tables(self._statements.dialect)[name]
        if new:
            await self._execute(table.insert().values(values))
        else:
            await self._execute(table.update().where(table.c.id == values["id"]).values(values))

    async def _execute(self, statement: Any) -> None:
        await execute(self._session, self._statements.dialect, statement)


def _decoded(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return row | {name: msgspec.json.decode(row[name]) for name in names if row[name] is not None}


def _encoded(record: Any, *names: str) -> dict[str, Any]:
    values = msgspec.structs.asdict(record)
    return values | {name: encode(values[name]).decode() for name in names if values[name] is not None}


def _frozen(record: Any) -> Any:
    """A policy as it was before JSON made lists of its tuples."""
    policy = {name: tuple(value) if isinstance(value, list) else value for name, value in record.policy.items()}
    return replace(record, policy=policy)
