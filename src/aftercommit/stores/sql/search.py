"""Lists of messages, newest first, at a cost that does not grow with what is stored."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, and_, cast, exists, func, literal_column, or_, select

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.lifecycle import Status
from aftercommit.ports.store import Listed, Page, Search
from aftercommit.stores.sql.core import query, tables
from aftercommit.stores.sql.folding import with_deliveries
from aftercommit.stores.sql.session import Session
from aftercommit.stores.sql.statements import MESSAGE, Statements

# Rows of the list that one call looks at, at most: some tens of milliseconds.
LOOKED_AT_MAX: Final = 20_000
# What operators look for among millions of others: it has an index of its own.
_TROUBLE: Final = frozenset({Status.UNDECIDED, Status.UNDELIVERED, Status.FAILED})


class Finder:
    """Answers one search."""

    def __init__(self, session: Session, statements: Statements, catalog: Catalog) -> None:
        self._session = session
        self._statements = statements
        self._catalog = catalog
        of_dialect = tables(statements.dialect)
        self._message: Any = of_dialect["message"].c
        self._content: Any = of_dialect["content"]
        self._delivery: Any = of_dialect["delivery"].c
        self._postgres = statements.dialect == "postgresql"

    async def page(self, search: Search) -> Page:
        """A page of messages."""
        wanted = self._wanted(search)
        end = await self._end(search) if wanted else None
        m, c = self._message, self._content.c
        columns = [self._text(m[name]) if name in ("id", "replay_of") else m[name] for name in MESSAGE]
        source = m.id.table.join(self._content, c.id == m.id, isouter=True)
        found = await query(
            self._session,
            self._statements.dialect,
            self._ordered(
                select(*columns, c.message_key)
                .select_from(source)
                .where(*self._place(search), *([self._from(end)] if end else []), *wanted)
            ).limit(search.limit + 1),
        )
        messages = await with_deliveries(self._session, self._statements, found[: search.limit], ahead=0)
        listed = tuple(Listed(message=each, key=row[-1]) for each, row in zip(messages, found, strict=False))
        if len(found) > search.limit:
            end = (messages[-1].prepared_at, messages[-1].id)
        return Page(messages=listed, next_after=end)

    async def _end(self, search: Search) -> tuple[int, str] | None:
        """The last row this call may look at; None where there are fewer."""
        m = self._message
        walk = self._ordered(select(m.prepared_at, self._text(m.id)).where(*self._place(search)))
        last = walk.limit(1).offset(LOOKED_AT_MAX - 1)
        found = await query(self._session, self._statements.dialect, last)
        return (found[0][0], found[0][1]) if found else None

    def _ordered(self, statement: Select[Any]) -> Select[Any]:
        m = self._message
        return statement.order_by(m.prepared_at.desc(), m.id.desc())

    def _place(self, search: Search) -> list[ColumnElement[bool]]:
        """The part of the index to walk."""
        m = self._message
        place: list[ColumnElement[bool]] = []
        if search.status in _TROUBLE and search.status is not None:
            # Spelt out: only so does PostgreSQL see that its index of a few statuses has them all.
            column = "message.status" if self._postgres else "message.trouble"
            place.append(literal_column(column) == literal_column(f"'{search.status.value}'"))
        if search.since is not None:
            place.append(m.prepared_at >= search.since)
        if search.until is not None:
            place.append(m.prepared_at < search.until)
        if search.after is not None:
            at, message_id = search.after
            place.append(and_(m.prepared_at <= at, or_(m.prepared_at < at, m.id < message_id)))
        return place

    def _from(self, end: tuple[int, str]) -> ColumnElement[bool]:
        m = self._message
        at, message_id = end
        condition: ColumnElement[bool] = and_(m.prepared_at >= at, or_(m.prepared_at > at, m.id >= message_id))
        return condition

    def _wanted(self, search: Search) -> list[ColumnElement[bool]]:
        """What each message on the way is asked."""
        m, key = self._message, self._content.c.message_key
        wanted: list[ColumnElement[bool]] = []
        if search.status is not None and search.status not in _TROUBLE:
            wanted.append(m.status == search.status.value)
        if search.app is not None:
            wanted.append(m.app == search.app)
        if search.topics is not None:
            wanted.append(m.topic.in_(search.topics))
        if search.key is not None:
            wanted.append(key == search.key)
        if search.error is not None:
            wanted.append(self._within(m.error, search.error))
        if search.text is not None:
            places = (self._text(m.id), key, m.error)
            wanted.append(or_(*(self._within(each, search.text) for each in places)))
        if search.visible_to is not None:
            wanted.append(self._visible(search.visible_to))
        return wanted

    def _visible(self, app: int) -> ColumnElement[bool]:
        m, d = self._message, self._delivery
        mine = [each.id for each in self._catalog.subscriptions.values() if each.app == app]
        apart = exists(select(1).where(d.message_id == m.id, d.subscription.in_(mine)))
        return or_(m.app == app, m.subscription.in_(mine), and_(m.delivery_rows > 0, apart))

    def _within(self, column: Any, part: str) -> ColumnElement[bool]:
        found = func.strpos(column, part) if self._postgres else func.instr(column, part)
        condition: ColumnElement[bool] = found > 0
        return condition

    def _text(self, column: Any) -> Any:
        return cast(column, Text) if self._postgres else column
