"""A SQLite file with the inbox and a table of orders, and a service that writes down what it is told."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.sdk.consumer.pulled import Service
from tests.sdk.transactions.conftest import TABLES


@pytest.fixture
def service() -> Service:
    """A service that takes everything, and hands out what it is given."""
    return Service()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file."""
    made = tmp_path / "stock.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(TABLES)
        connection.execute("CREATE TABLE orders (number INTEGER NOT NULL)")
        connection.commit()
    return made


@pytest.fixture
def connect(path: Path) -> Callable[[], sqlite3.Connection]:
    """What a consumer gets as its database."""
    return lambda: sqlite3.connect(path, timeout=10)


@pytest.fixture
def orders(path: Path) -> Iterator[Callable[[], list[int]]]:
    """The numbers in the table of orders, as somebody else sees them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield lambda: [number for (number,) in other.execute("SELECT number FROM orders ORDER BY number")]
