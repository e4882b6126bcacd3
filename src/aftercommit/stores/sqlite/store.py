"""The SQLite store: the port, put together from its threads and what they run."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

from aftercommit.domain.catalog import Catalog, CatalogEdit
from aftercommit.domain.commands import Work
from aftercommit.domain.errors import ConfigurationError, Inconsistency, StoreUnavailable
from aftercommit.domain.message import DueKind, Message
from aftercommit.domain.step import Context
from aftercommit.ports import broker
from aftercommit.ports.store import (
    Dispatch,
    Dispatched,
    DueLane,
    Edit,
    Page,
    Publish,
    Result,
    Search,
    StoreCapabilities,
    Stored,
    Tally,
)
from aftercommit.stores.claims import Claims, command_for
from aftercommit.stores.sqlite import catalogue, dispatching, due, reader, retention, search, tallies
from aftercommit.stores.sqlite.connection import make_file
from aftercommit.stores.sqlite.fold import write_work
from aftercommit.stores.sqlite.lock import FileLock
from aftercommit.stores.sqlite.migrate import apply_missing, missing_migrations
from aftercommit.stores.sqlite.reader import ReaderThreads
from aftercommit.stores.sqlite.writer import WriterThread

T = TypeVar("T")

_CAPABILITIES: Final = StoreCapabilities(writers_max=1)


class SqliteStore:
    """Messages in one file. The catalogue in memory is authoritative: nobody else may open the file."""

    def __init__(self, path: Path, *, chance: Callable[[], float], migrate: bool = True) -> None:
        self._path = path
        self._chance = chance
        self._migrate = migrate
        self._lock = FileLock(path)
        self._writer = WriterThread(path)
        self._readers = ReaderThreads(path)
        self._catalog = Catalog.of()
        self._claims = Claims()
        self._purged_to: retention.Place | None = None

    @property
    def capabilities(self) -> StoreCapabilities:
        return _CAPABILITIES

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    async def open(self, now: int) -> None:
        self._lock.take()
        try:
            # Looked at before anything is changed: the file may be somebody else's.
            missing = await asyncio.to_thread(missing_migrations, self._path)
            if missing and not self._migrate:
                raise ConfigurationError(
                    f"The database {self._path} lacks {len(missing)} migrations, the first is {missing[0]}:"
                    " run `aftercommit migrate`."
                )
            await asyncio.to_thread(make_file, self._path)
            self._catalog = await self._writer.open(self._prepared)
        except (OSError, StoreUnavailable) as error:
            self._lock.release()
            raise ConfigurationError(f"The database {self._path} cannot be opened: {error}") from error
        except BaseException:
            self._lock.release()
            raise
        self._readers.open()

    async def close(self) -> None:
        await self._readers.close()
        try:
            await self._writer.close()
        finally:
            self._lock.release()

    async def write(self, work: Sequence[Work], now: int) -> list[Result]:
        return await self._transact(now, partial(write_work, work=work))

    async def dispatch(self, dispatch: Dispatch, publish: Publish, now: int) -> Dispatched:
        batch = await self._take(dispatch, now)
        if not batch.taken:
            return Dispatched(parked=batch.parked)
        try:
            answers = await publish(batch.taken)
            if len(answers) != len(batch.taken):
                raise Inconsistency(f"The broker answered {len(answers)} times to {len(batch.taken)} messages.")
            answered = zip(batch.ids, answers, strict=True)
            commands = [command_for(answer, dispatch, message_id) for message_id, answer in answered]
            done = [each for each in commands if each is not None]
            if done:
                await self._transact(now, partial(dispatching.settle, commands=done))
        finally:
            self._claims.release(batch.ids)
        return Dispatched(
            accepted=sum(isinstance(each, broker.Accepted) for each in answers),
            refused=sum(isinstance(each, broker.Refused) for each in answers),
            parked=batch.parked,
            unavailable=next((each.reason for each in answers if isinstance(each, broker.Unavailable)), None),
        )

    async def edit_catalog(self, edit: Edit, now: int) -> CatalogEdit:
        def work(connection: sqlite3.Connection) -> CatalogEdit:
            before = self._catalog
            edited = edit(before)
            context = Context(now=now, catalog=edited.catalog, chance=self._chance)
            catalogue.apply(connection, before, edited, context)
            return edited

        def keep(edited: CatalogEdit) -> None:
            self._catalog = edited.catalog

        return await self._writer.transact(work, keep)

    async def refresh_catalog(self) -> None:
        """Nobody else edits it."""

    async def purge(self, now: int, limit: int) -> int:
        over = await self._over(now, limit, self._purged_to)
        if len(over.ids) < limit and over.go_on is None and self._purged_to is not None:
            again = await self._over(now, limit - len(over.ids), None)
            over = retention.Over(list(dict.fromkeys([*over.ids, *again.ids])), again.go_on)
        removed = await self._writer.transact(partial(retention.remove, ids=over.ids)) if over.ids else 0
        self._purged_to = over.go_on
        return removed

    async def get(self, message_id: str) -> Stored | None:
        return await self._readers.query(partial(reader.get, message_id=message_id))

    async def find(self, ids: Sequence[str]) -> dict[str, Message]:
        return await self._readers.query(partial(reader.find, ids=ids))

    async def search(self, search_: Search) -> Page:
        return await self._readers.query(partial(search.search, search=search_, catalog=self._catalog))

    async def due_lanes(self, kind: DueKind) -> list[DueLane]:
        return await self._readers.query(partial(due.due_lanes, kind=kind))

    async def tallies(self) -> list[Tally]:
        return await self._readers.query(tallies.tallies)

    async def ping(self) -> None:
        await self._writer.transact(_ping)

    def _prepared(self, connection: sqlite3.Connection) -> Catalog:
        apply_missing(connection, self._path)
        return catalogue.load(connection)

    async def _take(self, dispatch: Dispatch, now: int) -> dispatching.Batch:
        gone = Event()
        take = partial(dispatching.take, dispatch=dispatch, claims=self._claims, nobody_waits=gone.is_set)
        taking = asyncio.ensure_future(self._transact(now, take))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The thread goes on: what it takes from now on, or has taken already, nobody would be left to release.
            gone.set()
            taking.add_done_callback(self._give_back)
            raise

    def _give_back(self, taking: "asyncio.Future[dispatching.Batch]") -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._claims.release(taking.result().ids)

    async def _over(self, now: int, limit: int, begin: retention.Place | None) -> retention.Over:
        find = partial(retention.find_over, catalog=self._catalog, now=now, limit=limit, begin=begin)
        return await self._readers.query(find)

    async def _transact(self, now: int, work: Callable[[sqlite3.Connection, Context], T]) -> T:
        def with_context(connection: sqlite3.Connection) -> T:
            # Made here, in the thread: an edit of the catalogue that was asked for before has taken place by now.
            return work(connection, Context(now=now, catalog=self._catalog, chance=self._chance))

        return await self._writer.transact(with_context)


def _ping(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE fact SET value = value + 1 WHERE name = 'pings'")
