"""A SQLite file with our tables and a table of orders, and a service that writes down what it is told."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.sdk.transactions.recorder import Recorder

TABLES = """
CREATE TABLE aftercommit_outcome (message_id TEXT PRIMARY KEY, outcome TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE aftercommit_outbox (message_id TEXT PRIMARY KEY, message BLOB NOT NULL, at TEXT NOT NULL);
CREATE TABLE aftercommit_inbox (
    subscription TEXT, message_id TEXT, at TEXT NOT NULL, PRIMARY KEY (subscription, message_id));
"""


@pytest.fixture
def service() -> Recorder:
    """A service that takes everything."""
    return Recorder()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file."""
    made = tmp_path / "orders.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(TABLES)
        connection.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY)")
        connection.commit()
    return made


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """The connection of the code under test."""
    with closing(sqlite3.connect(path, timeout=0.2)) as made:
        yield made


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection, in autocommit."""
    with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as made:
        yield made
