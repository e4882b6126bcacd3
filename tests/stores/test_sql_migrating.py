"""Migrating a database that is in use, cut short, out of reach, or lacks a package."""

import asyncio
import sys
from pathlib import Path

import alembic.op
import pytest
from sqlalchemy import text

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql import migrate
from aftercommit.stores.sql.migrate import (
    LOCK,
    PAUSE_SECONDS,
    known_migrations,
    migrations_sql,
    missing_migrations,
    run_migrations,
)
from aftercommit.stores.sql.schema import metadata
from tests.servers.databases import FreshDatabase
from tests.stores.sql_schemas import add_migration, ask, connected, described, make_from_description, never, tables

NAMES = [each.name for each in known_migrations()]
AT_ONCE_SECONDS = 20


async def test_of_two_at_once_one_migrates(database: FreshDatabase, another: FreshDatabase) -> None:
    both = await asyncio.gather(*(run_migrations(database.url(), pause=never) for _ in range(2)))

    assert sorted(both) == [[], NAMES]
    make_from_description(another)
    assert described(database) == described(another)


async def test_who_comes_second_waits_for_the_first(database: FreshDatabase) -> None:
    """Somebody else holds the lock; only when he lets go is anything done."""
    take, waiting = f"SELECT pg_advisory_xact_lock({LOCK})", "SELECT 1 FROM pg_locks WHERE NOT granted"
    if database.scheme == "mysql":
        take = "SELECT GET_LOCK(CONCAT('aftercommit ', MD5(DATABASE())), 0)"
        waiting = "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'"
    with connected(database) as first:
        first.execute(text(take))
        second = asyncio.create_task(run_migrations(database.url(), pause=never))
        async with asyncio.timeout(AT_ONCE_SECONDS):
            while not await asyncio.to_thread(ask, database, waiting):
                assert not second.done()
        assert not second.done()
        assert tables(database) == set()

    assert await second == NAMES


async def test_a_table_in_use_is_not_waited_for_long_but_again(
    database: FreshDatabase, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_migrations(database.url(), pause=never)
    added = add_migration(scripts, "ALTER TABLE message ADD COLUMN more INTEGER")
    monkeypatch.setattr(migrate, "TABLE_WAIT_SECONDS", 1)
    pauses: list[float] = []

    with connected(database) as reader:
        reader.execute(text("SELECT count(*) FROM message"))

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                reader.rollback()

        applied = await run_migrations(database.url(), pause=pause)

    assert applied == [added]
    assert pauses == [PAUSE_SECONDS, PAUSE_SECONDS]


async def test_a_table_that_stays_in_use_ends_in_a_sentence(
    database: FreshDatabase, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_migrations(database.url(), pause=never)
    add_migration(scripts, "ALTER TABLE message ADD COLUMN more INTEGER")
    monkeypatch.setattr(migrate, "TABLE_WAIT_SECONDS", 1)
    monkeypatch.setattr(migrate, "TRIES_MAX", 1)

    with connected(database) as reader:
        reader.execute(text("SELECT count(*) FROM message"))
        with pytest.raises(ConfigurationError, match="in use for too long"):
            await run_migrations(database.url(), pause=never)


async def test_a_migration_that_fails_says_why_and_leaves_postgresql_as_it_was(postgres, scripts: Path) -> None:
    with postgres.database() as fresh:
        await run_migrations(fresh.url(), pause=never)
        before = described(fresh)
        added = add_migration(scripts, "ALTER TABLE nowhere ADD COLUMN more INTEGER")

        with pytest.raises(ConfigurationError, match='migrated: relation "nowhere" does not exist') as refused:
            await run_migrations(fresh.url(), pause=never)

        assert "ALTER" not in str(refused.value)
        assert described(fresh) == before
        assert await missing_migrations(fresh.url()) == [added]


async def test_a_first_migration_may_be_killed_after_each_step(
    database: FreshDatabase, another: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MySQL each run gets one step further; on PostgreSQL nothing is left of any."""
    steps = {"left": 0}

    def one_step(original):
        def step(*arguments, **options):
            if steps["left"] == 0:
                raise ConnectionResetError("killed")
            steps["left"] -= 1
            return original(*arguments, **options)

        return step

    for name in ("create_table", "create_index", "bulk_insert"):
        monkeypatch.setattr(alembic.op, name, one_step(getattr(alembic.op, name)))

    killed = 0
    for _ in range(50):
        steps["left"] = 5 * killed + 1 if database.scheme == "postgresql" else 1
        try:
            await run_migrations(database.url(), pause=never)
            break
        except ConfigurationError:
            assert steps["left"] == 0
            killed += 1
        assert database.scheme == "mysql" or tables(database) == set()
        assert await missing_migrations(database.url()) == NAMES

    assert killed > (3 if database.scheme == "postgresql" else len(metadata(database.scheme).tables))
    make_from_description(another)
    assert described(database) == described(another)
    assert sorted(ask(database, "SELECT name, value FROM fact")) == [("catalog", 0), ("next_id", 1), ("pings", 0)]


async def test_a_database_that_is_not_there_is_told_in_a_sentence(database: FreshDatabase) -> None:
    url = database.url().replace(database.name, "nowhere")
    with pytest.raises(ConfigurationError, match=r"could not be read: .*nowhere") as refused:
        await missing_migrations(url)

    assert database.password not in str(refused.value)


async def test_a_server_that_is_not_there_is_told_in_a_sentence(database: FreshDatabase) -> None:
    url = database.url().replace(f":{database.port}", ":1")
    for refused in (run_migrations, missing_migrations, migrations_sql):
        with pytest.raises(ConfigurationError, match="Connect call failed") as told:
            await refused(url)
        assert database.password not in str(told.value)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("postgresql://anna@db/shop", "asyncpg", "postgres"),
        ("mysql://anna@db/shop", "asyncmy", "mysql"),
        ("mysql://anna@db/shop?driver=aiomysql", "aiomysql", "mysql"),
    ],
)
async def test_a_missing_driver_is_told_in_a_sentence(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ConfigurationError, match=rf"needs {package}: pip install 'aftercommit\[{extra}\]'\."):
        await missing_migrations(url)


async def test_a_missing_alembic_is_told_in_a_sentence(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)

    for refused in (run_migrations, migrations_sql):
        with pytest.raises(ConfigurationError, match=r"needs alembic: pip install 'aftercommit\["):
            await refused(database.url())
    assert tables(database) == set()
