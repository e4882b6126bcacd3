"""Each driver in turn, on an empty database with our tables."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aftercommit.sdk.tables import ddl
from tests.sdk.databases.drivers import NAMES, Driver
from tests.sdk.databases.drivers import driver as made

BUSINESS = (
    "CREATE TABLE orders (number integer PRIMARY KEY)",
    # Without a key: an effect that happens twice is seen twice.
    "CREATE TABLE bills (number integer)",
)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, driver_name: str) -> Iterator[Any]:
    """Where the driver's database is: a path for SQLite, else an address on a server of ours."""
    server = NAMES[driver_name]
    if server == "sqlite":
        yield sqlite_file(tmp_path)
    elif server == "postgresql":
        import psycopg

        with request.getfixturevalue("postgres").database() as database:
            with psycopg.connect(database.url()) as connection:
                for statement in [*ddl("postgresql"), *BUSINESS]:
                    connection.execute(statement.encode())
            yield database
    else:
        import pymysql

        with request.getfixturevalue("mariadb").database() as database:
            with (
                closing(
                    pymysql.connect(
                        host=database.host,
                        port=database.port,
                        user=database.user,
                        password=database.password,
                        database=database.name,
                    )
                ) as connection,
                connection.cursor() as cursor,
            ):
                for statement in [*ddl("mysql"), *(f"{each} ENGINE=InnoDB" for each in BUSINESS)]:
                    cursor.execute(statement)
            yield database


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
