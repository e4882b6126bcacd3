"""Rows of ours are tuples, whatever the user's connection makes of its own."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aftercommit.sdk.databases.adapt import handle_of

MARKERS = "SELECT message_id, outcome FROM aftercommit_outcome"


async def a_row(target):
    """What comes back for one marker; the transaction is over afterwards."""
    handle = handle_of(target)
    await handle.begin()
    await handle.execute(handle.dialect.mark(1), ["a", "committed"])
    rows = await handle.execute(MARKERS)
    await handle.rollback()
    return rows


def options(place) -> dict:
    return {
        "host": place.host,
        "port": place.port,
        "user": place.user,
        "password": place.password,
        "database": place.name,
    }


@pytest.mark.parametrize("driver_name", ["sqlite3"])
async def test_sqlites_row_factories_stay_the_users(place: Path):
    import aiosqlite

    with closing(sqlite3.connect(place)) as connection:
        connection.row_factory = sqlite3.Row
        assert await a_row(connection) == [("a", "committed")]
        assert connection.row_factory is sqlite3.Row
    async with aiosqlite.connect(place) as awaited:
        awaited.row_factory = aiosqlite.Row
        assert await a_row(awaited) == [("a", "committed")]
        assert awaited.row_factory is aiosqlite.Row


@pytest.mark.parametrize("driver_name", ["psycopg"])
async def test_psycopgs_row_factories_stay_the_users(place):
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(place.url(), row_factory=dict_row) as connection:
        assert await a_row(connection) == [("a", "committed")]
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    async with await psycopg.AsyncConnection.connect(place.url(), row_factory=dict_row) as awaited:
        assert await a_row(awaited) == [("a", "committed")]


@pytest.mark.parametrize("driver_name", ["asyncpg"])
async def test_asyncpgs_record_classes_stay_the_users(place):
    import asyncpg

    class Named(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
        """A record of the user's."""

    connection = await asyncpg.connect(place.url(), record_class=Named)
    assert await a_row(connection) == [("a", "committed")]
    assert isinstance(await connection.fetchrow("SELECT 1 AS one"), Named)
    await connection.close()


@pytest.mark.parametrize("driver_name", ["pymysql"])
async def test_mysqls_cursor_classes_stay_the_users(place):
    import asyncmy
    import pymysql
    from asyncmy.cursors import DictCursor

    with closing(pymysql.connect(**options(place), cursorclass=pymysql.cursors.DictCursor)) as connection:
        assert await a_row(connection) == [("a", "committed")]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS one")
            assert cursor.fetchone() == {"one": 1}
    async with asyncmy.connect(**options(place), cursor_cls=DictCursor) as awaited:
        assert await a_row(awaited) == [("a", "committed")]
