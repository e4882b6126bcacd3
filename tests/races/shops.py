"""The databases as each driver reaches them: where the initiators write, and where the checkers look."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from random import Random
from typing import Any, Final

from aftercommit.sdk.tables import ddl
from tests.races.plan import STOCK

DRIVERS: Final = {
    "postgresql": ("psycopg", "sqlalchemy+psycopg", "asyncpg", "sqlalchemy+asyncpg"),
    "mariadb": ("pymysql", "sqlalchemy+pymysql", "asyncmy", "sqlalchemy+asyncmy"),
    "sqlite": ("sqlite3", "sqlalchemy+pysqlite", "aiosqlite", "sqlalchemy+aiosqlite"),
}
_AWAITED: Final = ("asyncpg", "asyncmy", "aiosqlite")
_ISOLATIONS: Final = {
    "postgresql": ("read committed", "read committed", "repeatable read", "serializable"),
    "mariadb": ("READ COMMITTED", "REPEATABLE READ", "REPEATABLE READ", "SERIALIZABLE"),
    "sqlite": ("",),
}
LOCK_SECONDS: Final = 1

# What raises where a database, a driver or the way to them fails; anything else is a fault of ours.
DATABASE_PACKAGES: Final = ("psycopg", "sqlalchemy", "asyncpg", "pymysql", "asyncmy", "aiosqlite", "sqlite3")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is. `path` for SQLite, else the server's port (which may be a proxy's)."""

    kind: str
    path: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    name: str = ""


def tables(kind: str) -> list[str]:
    """The SDK's outcome table, the business rows of the races, and the stock that they fight for.

    `effects` has no unique key on purpose: an effect that comes twice must be seen, not prevented.
    """
    text = "varchar(64) CHARACTER SET ascii COLLATE ascii_bin" if kind == "mariadb" else "varchar(64)"
    options = " ENGINE=InnoDB" if kind == "mariadb" else ""
    return [
        *ddl(kind, inbox=False, outbox=False),
        f"CREATE TABLE effects (message_id {text} NOT NULL, unit {text} NOT NULL, run {text} NOT NULL){options}",
        "CREATE INDEX effects_by_message ON effects (message_id)",
        f"CREATE TABLE stock (item integer PRIMARY KEY, taken integer NOT NULL){options}",
        "INSERT INTO stock (item, taken) VALUES " + ", ".join(f"({item}, 0)" for item in range(STOCK)),
    ]


@dataclass(frozen=True, slots=True)
class Shop:
    """One driver on one database. `source`: what a barrier may be given. `open`: for one local transaction."""

    driver: str
    blocking: bool
    source: Any
    _connect: Callable[[], Any]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        """A session or connection of the user's, closed afterwards."""
        target = await _awaited(self._connect())
        try:
            yield target
        finally:
            await _awaited(target.close())

    async def pause(self, seconds: float) -> None:
        """Let time pass the way this driver's users do."""
        if self.blocking:
            time.sleep(seconds)  # noqa: ASYNC251 - where nothing suspends, a thread sleeps
        else:
            await asyncio.sleep(seconds)


def shop(driver: str, place: Place, chance: Random, *, loses_answers: bool = False) -> Shop:
    """A shop with some isolation level, and some patience with locks.

    `loses_answers`: a SQLite whose COMMIT fails now and then as if the disk did, before or after it took effect;
    what lies between a program and a server is the proxy's to break.
    """
    blocking = not driver.endswith(_AWAITED)
    isolation = chance.choice(_ISOLATIONS[place.kind])
    match place.kind:
        case "postgresql":
            connect = _postgresql(driver, place, isolation, chance)
        case "mariadb":
            connect = _mariadb(driver, place, isolation, chance)
        case _:
            connect = _sqlite(driver, place, chance, loses_answers=loses_answers)
    if not driver.startswith("sqlalchemy"):
        return Shop(driver, blocking, connect, connect)
    engine = connect()
    return Shop(driver, blocking, engine, _sessions(engine, blocking=blocking, session=chance.random() < 0.6))


def is_of_a_database(error: BaseException) -> bool:
    """Whether a driver, or the network below it, raised this."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in DATABASE_PACKAGES


def _sessions(engine: Any, *, blocking: bool, session: bool) -> Callable[[], Any]:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    if session:
        return (lambda: Session(engine)) if blocking else (lambda: AsyncSession(engine))
    return engine.connect


def _engine(url: str, *, blocking: bool, **connect_args: Any) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.ext.asyncio import create_async_engine

    make = create_engine if blocking else create_async_engine
    return make(url, connect_args=connect_args, pool_size=16)


def _postgresql(driver: str, place: Place, isolation: str, chance: Random) -> Callable[[], Any]:
    address = f"{place.user}:{place.password}@127.0.0.1:{place.port}/{place.name}"
    settings = {"default_transaction_isolation": isolation, "lock_timeout": f"{LOCK_SECONDS}s"}
    # A space inside a value has a backslash before it.
    options = " ".join(f"-c {name}=" + value.replace(" ", r"\ ") for name, value in settings.items())
    match driver:
        case "psycopg":
            import psycopg

            autocommit = chance.random() < 0.3
            return lambda: psycopg.connect(f"postgresql://{address}", options=options, autocommit=autocommit)
        case "asyncpg":
            import asyncpg

            return lambda: asyncpg.connect(f"postgresql://{address}", server_settings=settings)
        case "sqlalchemy+psycopg":
            return lambda: _engine(f"postgresql+psycopg://{address}", blocking=True, options=options)
        case _:
            return lambda: _engine(f"postgresql+asyncpg://{address}", blocking=False, server_settings=settings)


def _mariadb(driver: str, place: Place, isolation: str, chance: Random) -> Callable[[], Any]:
    first = f"SET SESSION tx_isolation = '{isolation.replace(' ', '-')}', innodb_lock_wait_timeout = {LOCK_SECONDS}"
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": place.port,
        "user": place.user,
        "password": place.password,
        "database": place.name,
        "init_command": first,
    }
    match driver:
        case "pymysql":
            import pymysql

            autocommit = chance.random() < 0.3
            return lambda: pymysql.connect(**given, autocommit=autocommit)
        case "asyncmy":
            import asyncmy

            return lambda: asyncmy.connect(**given)
        case _:
            dialect = driver.partition("+")[2]
            address = f"{place.user}:{place.password}@127.0.0.1:{place.port}/{place.name}"
            return lambda: _engine(f"mysql+{dialect}://{address}", blocking=dialect == "pymysql", init_command=first)


def _sqlite(driver: str, place: Place, chance: Random, *, loses_answers: bool) -> Callable[[], Any]:
    from tests.races.fallible_sqlite import connection_class

    # Some give up on a lock sooner than others hold it.
    given: dict[str, Any] = {"timeout": chance.choice((0.1, 0.5, 2.0, 5.0))}
    if loses_answers:
        given["factory"] = connection_class(chance.random())
    match driver:
        case "sqlite3":
            given["isolation_level"] = chance.choice(("DEFERRED", "IMMEDIATE", None))
            return lambda: sqlite3.connect(place.path, **given)
        case "aiosqlite":
            import aiosqlite

            return lambda: aiosqlite.connect(place.path, **given)
        case "sqlalchemy+pysqlite":
            return lambda: _engine(f"sqlite+pysqlite:///{place.path}", blocking=True, **given)
        case _:
            return lambda: _engine(f"sqlite+aiosqlite:///{place.path}", blocking=False, **given)


async def _awaited(value: Any) -> Any:
    return await value if isawaitable(value) else value
