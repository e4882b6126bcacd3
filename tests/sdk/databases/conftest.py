"""Each driver in turn, on an empty database with our tables."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aftercommit.sdk.tables import ddl
from tests.sdk.databases.drivers import NAMES, Driver
from tests.sdk.databases.drivers import driver as made
from tests.servers.databases import FreshDatabase
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres

BUSINESS = (
    "CREATE TABLE orders (number integer PRIMARY KEY)",
    # Without a key: an effect that happens twice is seen twice.
    "CREATE TABLE bills (number integer)",
)


TABLES = ("aftercommit_outcome", "aftercommit_inbox", "aftercommit_outbox", "orders", "bills")


@pytest.fixture(scope="session")
def postgres_place(postgres: Postgres) -> Iterator[FreshDatabase]:
    """One database for all tests here, which takes far longer to make than to empty."""
    import psycopg

    with postgres.database() as database:
        with psycopg.connect(database.url()) as connection:
            for statement in [*ddl("postgresql"), *BUSINESS]:
                connection.execute(statement.encode())
        yield database


@pytest.fixture(scope="session")
def mariadb_place(mariadb: MariaDB) -> Iterator[FreshDatabase]:
    """The same on MariaDB."""
    with mariadb.database() as database:
        with mysql_cursor(database) as cursor:
            for statement in [*ddl("mysql"), *(f"{each} ENGINE=InnoDB" for each in BUSINESS)]:
                cursor.execute(statement)
        yield database


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, driver_name: str) -> Iterator[Any]:
    """Where the driver's database is: a path for SQLite, else an address on a server of ours. Empty, but for tables."""
    server = NAMES[driver_name]
    if server == "sqlite":
        yield sqlite_file(tmp_path)
        return
    name, empty = ("postgres", empty_postgres) if server == "postgresql" else ("mariadb", empty_mariadb)
    database = request.getfixturevalue(f"{name}_place")
    yield database
    empty(database)


def empty_postgres(database: FreshDatabase) -> None:
    """Cut off whoever a test left connected, and forget what it wrote."""
    import psycopg

    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}".encode())
        connection.execute("DROP TABLE IF EXISTS lines")
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}".encode())


def empty_mariadb(database: FreshDatabase) -> None:
    """The same on MariaDB."""
    import pymysql

    others = "FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    with mysql_cursor(database) as cursor:
        cursor.execute(f"SELECT id {others}")
        for (connection_id,) in cursor.fetchall():
            # It may have gone by itself.
            with suppress(pymysql.err.OperationalError):
                cursor.execute(f"KILL CONNECTION {connection_id}")
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")


@contextmanager
def mysql_cursor(database: FreshDatabase) -> Iterator[Any]:
    """A cursor of a connection of its own, in autocommit."""
    import pymysql

    connection = pymysql.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.name,
        autocommit=True,
    )
    with closing(connection), connection.cursor() as cursor:
        yield cursor


@pytest.fixture(params=list(NAMES))
def driver_name(request: pytest.FixtureRequest) -> str:
    """Which driver."""
    name: str = request.param
    return name


@pytest.fixture
async def driver(driver_name: str, place: Any) -> AsyncIterator[Driver]:
    """The driver under test."""
    driver = await made(driver_name, place)
    yield driver
    await driver.close()


def sqlite_file(folder: Path) -> Path:
    """A SQLite database with everything."""
    path = folder / "orders.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in [*ddl("sqlite"), *BUSINESS]:
            connection.execute(statement)
        connection.commit()
    return path
