"""A SQLite store with a small world in it, and the file it keeps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aftercommit.stores.sqlite import SqliteStore
from tests.builders import T0, set_up_world
from tests.conformance.store_case import TWO, Play
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
