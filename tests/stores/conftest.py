"""A SQLite store with a small world in it, and the file it keeps; empty databases on servers."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aftercommit.stores.sql import migrate
from aftercommit.stores.sqlite import SqliteStore
from tests.builders import T0, set_up_world
from tests.conformance.store_case import TWO, Play
from tests.servers.databases import FreshDatabase
from tests.ways import SMALL_BUDGETS


def make_store(path: Path) -> SqliteStore:
    """A store that is not open yet."""
    return SqliteStore(path, chance=lambda: 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The database's file."""
    return tmp_path / "messages.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """An opened, empty store."""
    store = make_store(path)
    await store.open(T0)
    yield store
    await store.close()


@pytest.fixture
async def play(store: SqliteStore) -> Play:
    """A topic with its implicit subscription and small budgets."""
    return Play(store, await set_up_world(store, policy=SMALL_BUDGETS))


@pytest.fixture
async def two(store: SqliteStore) -> Play:
    """A topic with two subscriptions."""
    return Play(store, await set_up_world(store, TWO, policy=SMALL_BUDGETS))


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[FreshDatabase]:
    """An empty database, once of each kind."""
    with request.getfixturevalue(request.param).database() as fresh:
        yield fresh


@pytest.fixture
def another(database: FreshDatabase, request: pytest.FixtureRequest) -> Iterator[FreshDatabase]:
    """An empty database of the same kind."""
    server = "postgres" if database.scheme == "postgresql" else "mariadb"
    with request.getfixturevalue(server).database() as fresh:
        yield fresh


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that a test may add to."""
    copied = tmp_path / "100% copied"
    shutil.copytree(migrate.SCRIPTS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "SCRIPTS", copied)
    return copied
