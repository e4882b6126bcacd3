"""The drivers under test: how a user would connect, run a statement, and hand over what we may connect with.

The suite is written for asyncio. A blocking driver's coroutines never suspend, so that it can be awaited all the same.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from tests.servers.databases import FreshDatabase


@dataclass(frozen=True, slots=True)
class Driver:
    """One driver on one database with our tables and `orders (number integer primary key)`.

    `connect`: the user's session or connection. `run`: a statement of the user's on it. `source`: for `database_of`.
    """

    name: str
    server: str
    connect: Callable[[], AbstractAsyncContextManager[Any]]
    run: Callable[[Any, str], Awaitable[None]]
    source: Any
    close: Callable[[], Awaitable[None]]


NAMES = {
    "sqlite3": "sqlite",
    "sqlite3, autocommit": "sqlite",
    "aiosqlite": "sqlite",
    "sqlalchemy session, sqlite": "sqlite",
    "sqlalchemy connection, sqlite": "sqlite",
    "sqlalchemy async session, aiosqlite": "sqlite",
    "sqlalchemy async connection, aiosqlite": "sqlite",
    "psycopg": "postgresql",
    "psycopg, autocommit": "postgresql",
    "psycopg async": "postgresql",
    "psycopg pool": "postgresql",
    "psycopg async pool": "postgresql",
    "asyncpg": "postgresql",
    "sqlalchemy session, psycopg": "postgresql",
    "sqlalchemy connection, psycopg": "postgresql",
    "sqlalchemy async session, asyncpg": "postgresql",
    "sqlalchemy async connection, asyncpg": "postgresql",
    "sqlalchemy async session, psycopg": "postgresql",
    "pymysql": "mysql",
    "pymysql, autocommit": "mysql",
    "asyncmy": "mysql",
    "asyncmy, autocommit": "mysql",
    "asyncmy pool": "mysql",
    "sqlalchemy session, pymysql": "mysql",
    "sqlalchemy connection, pymysql": "mysql",
    "sqlalchemy async session, asyncmy": "mysql",
    "sqlalchemy async connection, asyncmy": "mysql",
}


async def driver(name: str, place: Any) -> Driver:
    """The driver of that name. `place`: a path for SQLite, else a `FreshDatabase`."""
    server = NAMES[name]
    if name.startswith("sqlalchemy"):
        return _sqlalchemy(name, server, place)
    if server == "sqlite":
        return _sqlite(name, place)
    return await (_postgresql(name, place) if server == "postgresql" else _mysql(name, place))


def _sqlite(name: str, path: Any) -> Driver:
    import aiosqlite

    def source() -> Any:
        if name == "aiosqlite":
            return aiosqlite.connect(path, timeout=0.2)
        return sqlite3.connect(path, timeout=0.2, isolation_level=None if "autocommit" in name else "DEFERRED")

    async def run(target: Any, statement: str) -> None:
        await _awaited(target.execute(statement))

    return Driver(name, "sqlite", _closing(source), run, source, _nothing)


async def _postgresql(name: str, place: FreshDatabase) -> Driver:
    import asyncpg
    import psycopg

    if name == "asyncpg":
        pool = await asyncpg.create_pool(place.url(), min_size=1, max_size=4)

        async def run_asyncpg(target: Any, statement: str) -> None:
            await target.execute(statement)

        return Driver(name, "postgresql", pool.acquire, run_asyncpg, pool, pool.close)

    async def run(target: Any, statement: str) -> None:
        await _awaited(target.execute(statement))

    if "pool" in name:
        return await _psycopg_pool(name, place, run)

    def source() -> Any:
        if "async" in name:
            return psycopg.AsyncConnection.connect(place.url())
        return psycopg.connect(place.url(), autocommit="autocommit" in name)

    return Driver(name, "postgresql", _closing(source), run, source, _nothing)


async def _psycopg_pool(name: str, place: FreshDatabase, run: Callable[[Any, str], Awaitable[None]]) -> Driver:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    pool: Any = (AsyncConnectionPool if "async" in name else ConnectionPool)(
        place.url(), min_size=1, max_size=4, open=False
    )
    await _awaited(pool.open())

    @asynccontextmanager
    async def lent() -> AsyncIterator[Any]:
        connection = await _awaited(pool.getconn())
        try:
            yield connection
        finally:
            await _awaited(pool.putconn(connection))

    async def close() -> None:
        await _awaited(pool.close())

    return Driver(name, "postgresql", lent, run, pool, close)


async def _mysql(name: str, place: FreshDatabase) -> Driver:
    import asyncmy
    import pymysql

    options: dict[str, Any] = {
        "host": place.host,
        "port": place.port,
        "user": place.user,
        "password": place.password,
        "database": place.name,
        "autocommit": "autocommit" in name,
    }

    def source() -> Any:
        return asyncmy.connect(**options) if "asyncmy" in name else pymysql.connect(**options)

    async def run(target: Any, statement: str) -> None:
        cursor = target.cursor()
        await _awaited(cursor.execute(statement))
        await _awaited(cursor.close())

    if "pool" in name:
        pool = await asyncmy.create_pool(minsize=1, maxsize=4, **options)

        async def close() -> None:
            pool.close()
            await pool.wait_closed()

        return Driver(name, "mysql", pool.acquire, run, pool, close)
    return Driver(name, "mysql", _closing(source), run, source, _nothing)


def _sqlalchemy(name: str, server: str, place: Any) -> Driver:
    from sqlalchemy import create_engine, text
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
    from sqlalchemy.orm import sessionmaker

    dialect = name.rpartition(", ")[2]
    options: dict[str, Any] = {}
    if server == "sqlite":
        options["connect_args"] = {"timeout": 0.2}
        url = f"sqlite+{'aiosqlite' if dialect == 'aiosqlite' else 'pysqlite'}:///{place}"
    else:
        url = place.url(dialect)
    if "async" in name:
        async_engine = create_async_engine(url, **options)
        open_async = async_sessionmaker(async_engine) if "session" in name else async_engine.connect

        async def run_async(target: Any, statement: str) -> None:
            await target.execute(text(statement))

        return Driver(name, server, open_async, run_async, async_engine, async_engine.dispose)
    engine = create_engine(url, **options)

    async def run(target: Any, statement: str) -> None:
        target.execute(text(statement))

    async def dispose() -> None:
        engine.dispose()

    open_blocking = sessionmaker(engine) if "session" in name else engine.connect
    return Driver(name, server, _closing(open_blocking), run, engine, dispose)


def _closing(connect: Callable[[], Any]) -> Callable[[], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        target = await _awaited(connect())
        try:
            yield target
        finally:
            await _awaited(target.close())

    return opened


async def _awaited(value: Any) -> Any:
    return await value if isawaitable(value) else value


async def _nothing() -> None:
    """Nothing is left open."""
