"""The schema and its versions."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aftercommit.domain.errors import ConfigurationError
from aftercommit.domain.lifecycle import LIVE, OPEN_DELIVERY, PARKED, Status
from aftercommit.stores import columns as stored
from aftercommit.stores.sqlite import SqliteStore, migrate, missing_migrations, run_migrations, schema
from aftercommit.stores.sqlite.migrate import Migration, known_migrations
from tests.builders import T0
from tests.stores.conftest import make_store

NAMES = [each.name for each in known_migrations()]


@pytest.fixture
def text_file(path: Path) -> Path:
    """A file of something else."""
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    return path


def ask(path: Path, question: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def columns(path: Path, table: str) -> list[object]:
    return [row[1] for row in ask(path, f"PRAGMA table_info({table})")]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [each.number for each in known_migrations()] == list(range(1, len(NAMES) + 1))


def test_all_migrations_together_make_the_expected_schema(path: Path) -> None:
    run_migrations(path)

    found = {(kind, name) for kind, name in ask(path, "SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL")}
    tables = {"message", "delivery", "content", "event", "tally", "app", "topic", "subscription", "fact"}
    indexes = {
        "message_due",
        "message_list",
        "message_trouble",
        "message_replay",
        "delivery_due",
        "delivery_open",
        "event_message",
    }
    assert found == {("table", each) for each in tables} | {("index", each) for each in indexes}
    assert columns(path, "message") == [*stored.USUAL, *stored.RARE]
    assert columns(path, "delivery") == list(stored.DELIVERY)
    assert columns(path, "content") == [each.strip('"') for each in schema.CONTENT]
    assert columns(path, "event") == ["number", *stored.EVENT]
    assert columns(path, "tally") == list(schema.TALLY)


def test_the_statuses_in_indexes_are_those_of_the_lifecycle(path: Path) -> None:
    run_migrations(path)

    conditions = {
        str(name): str(sql).split("WHERE")[-1] for name, sql in ask(path, "SELECT name, sql FROM sqlite_master")
    }
    trouble = {each for each in Status if f"'{each.value}'" in conditions["message_trouble"]}
    open_delivery = {each for each in Status if f"'{each.value}'" in conditions["delivery_open"]}
    assert trouble == schema.TROUBLE == PARKED | {Status.FAILED}
    assert open_delivery == OPEN_DELIVERY
    assert all(f"'{each.value}'" in schema.IN_LIVE_OR_PARKED for each in LIVE | PARKED)


def test_migrating_twice_does_nothing_the_second_time(path: Path) -> None:
    assert missing_migrations(path) == NAMES
    assert not path.exists()

    assert run_migrations(path) == NAMES

    assert missing_migrations(path) == []
    assert run_migrations(path) == []


async def test_a_store_migrates_when_it_is_opened(store: SqliteStore, path: Path) -> None:
    assert missing_migrations(path) == []


async def test_a_store_told_not_to_migrate_says_what_to_do(path: Path) -> None:
    store = SqliteStore(path, chance=lambda: 0.0, migrate=False)
    with pytest.raises(ConfigurationError, match="aftercommit migrate"):
        await store.open(T0)

    run_migrations(path)

    await store.open(T0)
    await store.close()


async def test_a_newer_database_is_refused(path: Path) -> None:
    run_migrations(path)
    ask(path, "PRAGMA user_version = 999")

    with pytest.raises(ConfigurationError, match="999"):
        await make_store(path).open(T0)
    with pytest.raises(ConfigurationError, match="999"):
        missing_migrations(path)


async def test_somebody_elses_database_is_refused(path: Path) -> None:
    ask(path, "CREATE TABLE theirs (id)")

    with pytest.raises(ConfigurationError, match="not AfterCommit's"):
        await make_store(path).open(T0)

    assert ask(path, "SELECT name FROM sqlite_master") == [("theirs",)]


async def test_a_file_that_is_no_database_is_refused(text_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await make_store(text_file).open(T0)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_migrations(path)
    before = ask(path, "SELECT * FROM sqlite_master")
    broken = Migration(len(NAMES) + 1, "9999_broken", "CREATE TABLE half (id); CREATE TABLE message (id);")
    monkeypatch.setattr(migrate, "known_migrations", lambda: [*known_migrations(), broken])

    with pytest.raises(Exception, match="already exists"):
        run_migrations(path)

    assert ask(path, "SELECT * FROM sqlite_master") == before
    assert missing_migrations(path) == ["9999_broken"]


async def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(ConfigurationError, match=r"3\.35\.0"):
        await make_store(path).open(T0)
