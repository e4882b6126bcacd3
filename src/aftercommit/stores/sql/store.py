"""The store for PostgreSQL, MySQL and MariaDB: the port, put together from its pools and what they run."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import delete, select

from aftercommit.domain.catalog import Catalog, CatalogEdit
from aftercommit.domain.commands import Work
from aftercommit.domain.errors import ConfigurationError, StoreUnavailable
from aftercommit.domain.message import DueKind, Message
from aftercommit.domain.step import Context
from aftercommit.ports.store import (
    NODE_FORGOTTEN_MS,
    Dispatch,
    Dispatched,
    DueLane,
    Edit,
    NodeRecord,
    Page,
    Publish,
    Result,
    Search,
    StoreCapabilities,
    Stored,
    Tally,
)
from aftercommit.stores.fold import Fold, answered_later
from aftercommit.stores.sql import catalogue, dispatching, retention, rows, tallies
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import Backend, backend_for
from aftercommit.stores.sql.core import execute, query, tables
from aftercommit.stores.sql.folding import Folder, with_deliveries
from aftercommit.stores.sql.migrate import require_known_schema
from aftercommit.stores.sql.partitions import Partitions
from aftercommit.stores.sql.pool import Pool
from aftercommit.stores.sql.schema import STRIPES
from aftercommit.stores.sql.search import Finder
from aftercommit.stores.sql.session import Collision, ConnectionLost, Duplicate, Session
from aftercommit.stores.sql.statements import NODE, PING

T = TypeVar("T")

WRITERS: Final = 4
# Dispatch and redelivery work on eight lanes each at a time, and a slow destination keeps its connection meanwhile.
DISPATCHERS: Final = 16
READERS: Final = 4
# A publish is over before this, so that a node that stands still holds no rows much longer.
DISPATCH_HOLD_SECONDS: Final = 20.0
WRITE_HOLD_SECONDS: Final = 10.0
# How often a transaction is run again that the database has undone, or of whose end nobody knows.
_TRIES: Final = 6
_PAUSE_SECONDS: Final = 0.005


class SqlStore:
    """Messages in a database that any number of nodes share."""

    def __init__(
        self, address: Address, *, chance: Callable[[], float], writers_max: int = 2, migrate: bool = False
    ) -> None:
        self._address = address
        self._chance = chance
        self._migrate = migrate
        self._capabilities = StoreCapabilities(writers_max=writers_max, shared=True)
        self._backend: Backend = backend_for(address)
        self._statements = self._backend.statements
        self._dialect = self._statements.dialect
        self._writers = Pool(self._backend.connector(WRITE_HOLD_SECONDS), WRITERS)
        self._dispatchers = Pool(self._backend.connector(DISPATCH_HOLD_SECONDS), DISPATCHERS)
        self._readers = Pool(self._backend.connector(WRITE_HOLD_SECONDS), READERS)
        self._catalog = Catalog.of()
        self._catalog_version = -1
        self._partitions = Partitions(self._writers) if self._dialect == "postgresql" else None
        self._purged_to: retention.Place | None = None

    @property
    def capabilities(self) -> StoreCapabilities:
        return self._capabilities

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    async def open(self, now: int) -> None:
        try:
            await require_known_schema(self._address, migrate=self._migrate)
            if self._partitions is not None:
                await self._partitions.provide(now)
            async with self._writers.transaction() as session:
                await self._see_catalog(session)
        except StoreUnavailable as error:
            await self.close()
            raise ConfigurationError(
                f"The database {self._address.shown} cannot be used: {error.detail} Run `aftercommit doctor`."
            ) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for pool in (self._dispatchers, self._writers, self._readers):
            pool.close()

    async def write(self, work: Sequence[Work], now: int) -> list[Result]:
        optimistic = True

        async def once(session: Session) -> list[Result]:
            fold = Fold(await self._context(session, now))
            folder = self._folder(session, fold, now, optimistic=optimistic)
            results = await answered_later(fold.run(work), folder.answer)
            await folder.write(fold.changes)
            return results

        try:
            return await self._transact(once)
        except Duplicate:
            optimistic = False
            return await self._transact(once)

    async def dispatch(self, dispatch: Dispatch, publish: Publish, now: int) -> Dispatched:
        async with self._dispatchers.transaction() as session:
            fold = Fold(await self._context(session, now))
            folder = self._folder(session, fold, now)
            return await dispatching.Round(fold, folder, dispatch, now).run(publish)

    async def edit_catalog(self, edit: Edit, now: int) -> CatalogEdit:
        async def once(session: Session) -> tuple[CatalogEdit, int]:
            [[version]] = await session.rows(self._statements.lock_fact, "catalog")
            before = await catalogue.load(session, self._dialect)
            edited = edit(before)
            context = Context(now=now, catalog=edited.catalog, chance=self._chance)
            editing = catalogue.Edit(session, self._statements, context, self._stripe())
            changed = await editing.apply(before, edited)
            return edited, int(version) + changed

        edited, version = await self._transact(once)
        self._keep_catalog(edited.catalog, version)
        return edited

    async def refresh_catalog(self) -> None:
        async with self._readers.transaction() as session:
            await self._see_catalog(session)

    async def purge(self, now: int, limit: int) -> int:
        dropped = 0
        if self._partitions is not None:
            await self._partitions.provide(now)
            dropped = await self._partitions.drop_over(self._catalog, now, self._stripe())
        over = await self._over(now, limit, self._purged_to)
        if len(over.ids) < limit and over.go_on is None and self._purged_to is not None:
            again = await self._over(now, limit - len(over.ids), None)
            over = retention.Over(list(dict.fromkeys([*over.ids, *again.ids])), again.go_on)
        removed = await self._transact(partial(self._remove, now=now, ids=over.ids)) if over.ids else 0
        self._purged_to = over.go_on
        return dropped + removed

    async def get(self, message_id: str) -> Stored | None:
        async def once(session: Session) -> Stored | None:
            found = await self._look(session, [message_id])
            if not found:
                return None
            contents = await session.rows(self._statements.contents, [message_id])
            events = await session.rows(self._statements.events, [message_id])
            return Stored(
                message=found[0],
                content=rows.content(contents[0]) if contents else None,
                events=tuple(map(rows.event, events)),
            )

        return await self._read(once)

    async def find(self, ids: Sequence[str]) -> dict[str, Message]:
        if not ids:
            return {}
        found = await self._read(lambda session: self._look(session, ids))
        return {each.id: each for each in found}

    async def search(self, search: Search) -> Page:
        return await self._read(lambda session: Finder(session, self._statements, self._catalog).page(search))

    async def due_lanes(self, kind: DueKind) -> list[DueLane]:
        return await self._read(lambda session: tallies.due_lanes(session, self._statements, kind))

    async def tallies(self) -> list[Tally]:
        return await self._read(lambda session: tallies.tallies(session, self._statements))

    async def ping(self) -> None:
        async with self._writers.transaction() as session:
            await session.run(PING)

    async def beat(self, record: NodeRecord) -> None:
        async def once(session: Session) -> None:
            now = await self._clock(session)
            roles = ",".join(record.roles)
            row = (record.id, record.address, roles, record.version, record.started_at, now)
            await session.put((self._statements.put_node, [row]))
            node = tables(self._dialect)["node"]
            await execute(session, self._dialect, delete(node).where(node.c.seen_at < now - NODE_FORGOTTEN_MS))

        await self._transact(once)

    async def retire(self, node_id: str) -> None:
        node = tables(self._dialect)["node"]

        async def once(session: Session) -> None:
            await execute(session, self._dialect, delete(node).where(node.c.id == node_id))

        await self._transact(once)

    async def nodes(self) -> list[NodeRecord]:
        node = tables(self._dialect)["node"]

        async def once(session: Session) -> list[NodeRecord]:
            since = await self._clock(session) - NODE_FORGOTTEN_MS
            columns = [node.c[name] for name in NODE]
            lately = select(*columns).where(node.c.seen_at >= since).order_by(node.c.started_at, node.c.id)
            found = await query(session, self._dialect, lately)
            return [
                NodeRecord(
                    id=str(row[0]),
                    address=row[1],
                    roles=tuple(row[2].split(",")),
                    version=row[3],
                    started_at=row[4],
                    seen_at=row[5],
                )
                for row in found
            ]

        return await self._read(once)

    async def clock_ms(self) -> int:
        return await self._read(self._clock)

    async def _clock(self, session: Session) -> int:
        [[now]] = await session.rows(self._statements.clock)
        return int(now)

    async def _look(self, session: Session, ids: Sequence[str]) -> list[Message]:
        found = await session.rows(self._statements.look_states, list(ids))
        return await with_deliveries(session, self._statements, found, ahead=0)

    async def _remove(self, session: Session, now: int, ids: Sequence[str]) -> int:
        fold = Fold(Context(now=now, catalog=self._catalog, chance=self._chance))
        return await retention.remove(session, self._statements, self._folder(session, fold, now), ids)

    async def _over(self, now: int, limit: int, begin: retention.Place | None) -> retention.Over:
        return await self._read(
            lambda session: retention.find_over(session, self._statements, self._catalog, now, limit, begin)
        )

    async def _context(self, session: Session, now: int) -> Context:
        """What transitions may look at: the catalogue as it is in the database now."""
        await self._see_catalog(session)
        return Context(now=now, catalog=self._catalog, chance=self._chance)

    async def _see_catalog(self, session: Session) -> None:
        version = await catalogue.version(session)
        if version != self._catalog_version:
            self._keep_catalog(await catalogue.load(session, self._dialect), version)

    def _keep_catalog(self, catalog: Catalog, version: int) -> None:
        # Two tasks may have read at the same time; the newer stays.
        if version > self._catalog_version:
            self._catalog, self._catalog_version = catalog, version

    def _folder(self, session: Session, fold: Fold, now: int, *, optimistic: bool = False) -> Folder:
        return Folder(session, self._statements, fold, now=now, stripe=self._stripe(), optimistic=optimistic)

    def _stripe(self) -> int:
        return int(self._chance() * STRIPES)

    async def _read(self, query: Callable[[Session], Awaitable[T]]) -> T:
        """What a query says, asked once more where an old connection had been closed."""
        try:
            async with self._readers.transaction() as session:
                return await query(session)
        except ConnectionLost:
            self._readers.drop_idle()
        async with self._readers.transaction() as session:
            return await query(session)

    async def _transact(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again where the database undid it, and once more where its end is unknown.

        What has taken place already is found done by the second run: every command is answered with the present state.
        """
        lost = 0
        for attempt in range(_TRIES):
            try:
                async with self._writers.transaction() as session:
                    return await work(session)
            except Collision:
                if attempt == _TRIES - 1:
                    raise
                # Whoever we collided with is given the time to finish; chance parts two that are in step.
                await asyncio.sleep(_PAUSE_SECONDS * 2**attempt * (0.5 + self._chance()))
            except ConnectionLost:
                self._writers.drop_idle()
                lost += 1
                if lost > 1:
                    raise
        raise AssertionError("unreachable")
