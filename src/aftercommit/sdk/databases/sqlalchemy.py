"""SQLAlchemy: Session and Connection, AsyncSession and AsyncConnection, Engine and AsyncEngine."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from aftercommit.sdk.databases.dialects import DIALECTS, SQLITE, Dialect
from aftercommit.sdk.databases.places import format_places, numbered_places
from aftercommit.sdk.databases.port import Database, Handle, Misused
from aftercommit.sdk.databases.savepoints import Moment
from aftercommit.sdk.databases.sqlalchemy_watching import WatchedConnection, WatchedSession

_RENDER: Final[dict[str, Callable[[str], str]]] = {
    "qmark": str,
    "format": format_places,
    "pyformat": format_places,
    "numeric_dollar": numbered_places,
}


class ConnectionHandle:
    """A Connection of the user's, or of ours."""

    blocking = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.target = connection
        self._watched = WatchedConnection()
        self.dialect = _dialect_of(connection)

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        _require_top_level(self._connection, nested=self._connection.in_nested_transaction())
        if not self._connection.in_transaction():
            self._connection.begin()
        _require_transaction(self._connection)
        self._watched.attach(self._connection)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        return _execute(self._connection, statement, parameters)

    async def flush(self) -> None:
        """A connection holds nothing back."""

    async def commit(self) -> None:
        """Commit."""
        try:
            self._connection.commit()
        finally:
            self._watched.detach()

    async def rollback(self) -> None:
        """Roll back."""
        try:
            _roll_back(self._connection)
        finally:
            self._watched.detach()

    def in_transaction(self) -> bool:
        """Whether SQLAlchemy has begun one."""
        return self._connection.in_transaction()

    def watch(self) -> Moment:
        """By the statements and events of the connection."""
        return self._watched.savepoints.watch()

    def separate(self) -> Database:
        """Another connection of its engine, because this one may be what was lost."""
        return EngineDatabase(self._connection.engine)


class SessionHandle:
    """A Session; its business data must go to the one engine that `get_bind()` names."""

    blocking = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self.target = session
        self._watched = WatchedSession(session)
        bind = session.get_bind()
        self._engine = bind if isinstance(bind, Engine) else bind.engine
        self.dialect = _dialect_of(bind)

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        _require_top_level(self._session, nested=self._session.in_nested_transaction())
        await self.join()
        self._watched.attach(self._session.connection())

    async def join(self) -> None:
        """Be in the session's transaction, whoever commits it. Raises `Misused` where that commits nothing."""
        if not self._session.in_transaction():
            # Not every session begins by itself.
            self._session.begin()
        connection = self._session.connection()
        _require_commit(self._session, connection)
        _require_transaction(connection)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours on the session's connection."""
        return _execute(self._session.connection(), statement, parameters)

    async def flush(self) -> None:
        """Send what is pending. Raises `Misused` if it went to more than one engine."""
        self._session.flush()
        self._watched.require_one_connection()

    async def commit(self) -> None:
        """Commit, with the session's own events."""
        try:
            self._session.commit()
        finally:
            self._watched.detach()

    async def rollback(self) -> None:
        """Roll back, with the session's own events."""
        try:
            self._session.rollback()
        finally:
            self._watched.detach()

    def in_transaction(self) -> bool:
        """Whether the session has begun one."""
        return self._session.in_transaction()

    def watch(self) -> Moment:
        """By the session's events."""
        return self._watched.savepoints.watch()

    def separate(self) -> Database:
        """A connection of the engine, so that neither objects nor events of the session are touched."""
        return EngineDatabase(self._engine)


class AsyncConnectionHandle:
    """An AsyncConnection of the user's, or of ours."""

    blocking = False

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.target = connection
        self._watched = WatchedConnection()
        self.dialect = _dialect_of(connection)

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        _require_top_level(self._connection.sync_connection, nested=self._connection.in_nested_transaction())
        if not self._connection.in_transaction():
            await self._connection.begin()
        await self._connection.run_sync(_require_transaction)
        await self._connection.run_sync(self._watched.attach)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        return await self._connection.run_sync(_execute, statement, parameters)

    async def flush(self) -> None:
        """A connection holds nothing back."""

    async def commit(self) -> None:
        """Commit."""
        try:
            await self._connection.commit()
        finally:
            self._watched.detach()

    async def rollback(self) -> None:
        """Roll back."""
        try:
            await self._connection.run_sync(_roll_back)
        finally:
            self._watched.detach()

    def in_transaction(self) -> bool:
        """Whether SQLAlchemy has begun one."""
        return self._connection.in_transaction()

    def watch(self) -> Moment:
        """By the statements and events of the connection."""
        return self._watched.savepoints.watch()

    def separate(self) -> Database:
        """Another connection of its engine."""
        return AsyncEngineDatabase(self._connection.engine)


class AsyncSessionHandle:
    """An AsyncSession; the same as a Session, awaited."""

    blocking = False

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self.target = session
        self._watched = WatchedSession(session.sync_session)
        bind = session.get_bind()
        self._engine = bind if isinstance(bind, Engine) else bind.engine
        self.dialect = _dialect_of(bind)

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        _require_top_level(self._session.sync_session, nested=self._session.in_nested_transaction())
        if not self._session.in_transaction():
            # Not every session begins by itself.
            await self._session.begin()
        connection = await self._session.connection()
        await connection.run_sync(lambda made: _require_commit(self._session.sync_session, made))
        await connection.run_sync(_require_transaction)
        await connection.run_sync(self._watched.attach)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours on the session's connection."""
        connection = await self._session.connection()
        return await connection.run_sync(_execute, statement, parameters)

    async def flush(self) -> None:
        """Send what is pending. Raises `Misused` if it went to more than one engine."""
        await self._session.flush()
        self._watched.require_one_connection()

    async def commit(self) -> None:
        """Commit, with the session's own events."""
        try:
            await self._session.commit()
        finally:
            self._watched.detach()

    async def rollback(self) -> None:
        """Roll back, with the session's own events."""
        try:
            await self._session.rollback()
        finally:
            self._watched.detach()

    def in_transaction(self) -> bool:
        """Whether the session has begun one."""
        return self._session.in_transaction()

    def watch(self) -> Moment:
        """By the session's events."""
        return self._watched.savepoints.watch()

    def separate(self) -> Database:
        """A connection of the engine."""
        return AsyncEngineDatabase(AsyncEngine(self._engine))


class EngineDatabase:
    """Connections of an Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A connection from the engine's pool."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        with self._engine.connect() as connection:
            try:
                yield ConnectionHandle(connection)
            except BaseException:
                connection.invalidate()
                raise


class AsyncEngineDatabase:
    """Connections of an AsyncEngine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A connection from the engine's pool."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        async with self._engine.connect() as connection:
            try:
                yield AsyncConnectionHandle(connection)
            except BaseException:
                await connection.invalidate()
                raise


def scoped_handle(scoped: Any) -> Handle:
    """The handle on the session that a scoped_session or async_scoped_session has for its present scope."""
    session = scoped()
    return AsyncSessionHandle(session) if isinstance(session, AsyncSession) else SessionHandle(session)


def _dialect_of(bind: Any) -> Dialect:
    name = bind.dialect.name
    if name not in DIALECTS:
        raise Misused(f"The barrier is made for PostgreSQL, MySQL, MariaDB and SQLite, not for {name}.")
    return DIALECTS[name]


def _require_top_level(target: Any, *, nested: bool) -> None:
    if nested:
        raise Misused(
            "This session or connection is inside a savepoint, where a commit does not commit. "
            "Enter the transaction outside of begin_nested(), and use begin_nested() inside it."
        )
    # SQLAlchemy's own attribute; where it is missing, SQLAlchemy itself refuses whatever comes after our commit.
    if getattr(target, "_trans_context_manager", None) is not None:
        raise Misused(
            "This session or connection is inside a begin() block, which owns the commit. "
            "Enter client.transaction(...) instead of it."
        )


def _require_commit(session: Session, connection: Connection) -> None:
    """Refuse a session on a connection whose transaction began outside of it: its commit would be none."""
    entry = getattr(session.get_transaction(), "_connections", {}).get(connection)
    # Of what SQLAlchemy keeps about each connection of a session the third says whether a commit commits.
    if connection.in_nested_transaction() or (entry is not None and not entry[2]):
        raise Misused(
            "This session is bound to a connection whose transaction began outside of it, so that the session's commit "
            "commits nothing. Bind it to the engine, or hand in the connection."
        )


def _require_transaction(connection: Connection) -> None:
    """Refuse autocommit, where SQLAlchemy's commit is none; begin at once where SQLite would begin too late."""
    if _is_autocommit(connection, connection.connection.dbapi_connection):
        raise Misused(
            "This connection is in AUTOCOMMIT, so that its statements are not one transaction. "
            "Use an engine or execution_options(isolation_level=...) with a real isolation level."
        )
    if connection.dialect.name == "sqlite" and not _driver_in_transaction(connection):
        connection.exec_driver_sql(SQLITE.begin)


def _is_autocommit(connection: Connection, raw: Any) -> bool:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return True
    # Since SQLAlchemy 2.0.44. SQLite's legacy mode calls itself autocommit between transactions; it begins one like
    # the others.
    detect = getattr(connection.dialect, "detect_autocommit_setting", None)
    return connection.dialect.name != "sqlite" and detect is not None and bool(detect(raw))


def _roll_back(connection: Connection) -> None:
    connection.rollback()
    # A COMMIT that SQLite refuses ends the transaction for SQLAlchemy, and not for SQLite.
    if connection.dialect.name == "sqlite" and not connection.closed and _driver_in_transaction(connection):
        connection.connection.rollback()


def _driver_in_transaction(connection: Connection) -> bool:
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def _execute(connection: Connection, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    rendered = _rendered(statement, connection.dialect.paramstyle)
    result = connection.exec_driver_sql(rendered, tuple(parameters) or None)
    return [tuple(row) for row in result] if result.returns_rows else []


@lru_cache(maxsize=256)
def _rendered(statement: str, paramstyle: str) -> str:
    if paramstyle not in _RENDER:
        raise Misused(f"Drivers with the paramstyle {paramstyle!r} are not supported; use psycopg, asyncpg or asyncmy.")
    return _RENDER[paramstyle](statement)
