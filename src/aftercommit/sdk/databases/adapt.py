"""From what the user has (a session, a connection, an engine, a pool, a function) to a handle or a database of ours.

Drivers are recognised by the names of their classes: nothing is imported that the program does not use itself.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from inspect import isawaitable
from types import MappingProxyType
from typing import Any, Final

from aftercommit.sdk.databases.port import Database, Handle, Misused

_HERE: Final = "aftercommit.sdk.databases."
# The class of the user's object, or a base of it -> our module, and the class or function in it.
_HANDLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "sqlalchemy.orm.session.Session": ("sqlalchemy", "SessionHandle"),
        "sqlalchemy.orm.scoping.scoped_session": ("sqlalchemy", "scoped_handle"),
        "sqlalchemy.ext.asyncio.scoping.async_scoped_session": ("sqlalchemy", "scoped_handle"),
        "sqlalchemy.engine.base.Connection": ("sqlalchemy", "ConnectionHandle"),
        "sqlalchemy.ext.asyncio.session.AsyncSession": ("sqlalchemy", "AsyncSessionHandle"),
        "sqlalchemy.ext.asyncio.engine.AsyncConnection": ("sqlalchemy", "AsyncConnectionHandle"),
        "sqlite3.Connection": ("sqlite3", "SqliteHandle"),
        "aiosqlite.core.Connection": ("aiosqlite", "AioSqliteHandle"),
        "psycopg.Connection": ("psycopg", "PsycopgHandle"),
        "psycopg.AsyncConnection": ("psycopg", "AsyncPsycopgHandle"),
        "asyncpg.connection.Connection": ("asyncpg", "AsyncpgHandle"),
        "asyncpg.pool.PoolConnectionProxy": ("asyncpg", "AsyncpgHandle"),
        "pymysql.connections.Connection": ("pymysql", "PyMySqlHandle"),
        "asyncmy.connection.Connection": ("asyncmy", "AsyncMyHandle"),
        "django.utils.connection.ConnectionProxy": ("django", "DjangoHandle"),
        "django.db.backends.base.base.BaseDatabaseWrapper": ("django", "DjangoHandle"),
    }
)
_DATABASES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "sqlalchemy.engine.base.Engine": ("sqlalchemy", "EngineDatabase"),
        "sqlalchemy.ext.asyncio.engine.AsyncEngine": ("sqlalchemy", "AsyncEngineDatabase"),
        "psycopg_pool.pool.ConnectionPool": ("psycopg", "PsycopgPoolDatabase"),
        "psycopg_pool.pool_async.AsyncConnectionPool": ("psycopg", "AsyncPsycopgPoolDatabase"),
        "asyncpg.pool.Pool": ("asyncpg", "AsyncpgPoolDatabase"),
        "asyncmy.pool.Pool": ("asyncmy", "AsyncMyPoolDatabase"),
        "django.utils.connection.ConnectionProxy": ("django", "DjangoDatabase"),
        "django.db.backends.base.base.BaseDatabaseWrapper": ("django", "DjangoDatabase"),
    }
)


def handle_of(target: Any) -> Handle:
    """The handle on a session or connection. Raises `Misused` for anything else."""
    made = _made(_HANDLES, target)
    if made is None:
        raise Misused(
            f"{_named(target)} is no session or connection that can carry a transaction; see the list of drivers."
        )
    handle: Handle = made
    return handle


def database_of(source: Any) -> Database:
    """Where connections of our own come from: an engine, a pool, or a function that returns a connection or session.

    Raises `Misused` for anything else.
    """
    made = _made(_DATABASES, source)
    if made is not None:
        database: Database = made
        return database
    if callable(source):
        return FunctionDatabase(source)
    raise Misused(f"{_named(source)} is no engine, no pool and no function that connects.")


class FunctionDatabase:
    """Connections made by a function of the user's, one each time, closed after use.

    The function may return any session or connection that `handle_of` knows, or an awaitable of one.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A new connection."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        target = self._connect()
        if isawaitable(target):
            target = await target
        handle = handle_of(target)
        try:
            yield handle
        finally:
            closing = target.close()
            if isawaitable(closing):
                await closing


def _made(known: Mapping[str, tuple[str, str]], target: Any) -> Any:
    for each in type(target).__mro__:
        found = known.get(f"{each.__module__}.{each.__qualname__}")
        if found is not None:
            module, name = found
            return getattr(import_module(_HERE + module), name)(target)
    return None


def _named(target: Any) -> str:
    return f"{type(target).__module__}.{type(target).__qualname__}"
