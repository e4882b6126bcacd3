"""SQLite as both services use it: durable at COMMIT, and one writer at a time from its first statement on."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

# Longer than any transaction of the demo, the slow ones included.
_PATIENCE_SECONDS: Final = 30.0


def connect(path: Path, *, lock_seconds: float = _PATIENCE_SECONDS) -> sqlite3.Connection:
    """A connection of the caller's thread. `lock_seconds`: how long a statement waits for another writer."""
    connection = sqlite3.connect(path, timeout=lock_seconds, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    # In WAL mode only FULL syncs at every COMMIT; with less, a power cut could undo what was already confirmed.
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, not even by tidying up when it is closed."""
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0, isolation_level=None)


def create(path: Path, schema: str) -> None:
    """Make what is missing of `schema`; harmless when a restarted service says it again."""
    with closing(connect(path)) as connection:
        connection.executescript(schema)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE to COMMIT; whatever is raised inside rolls back and goes on.

    IMMEDIATE, because a transaction that begins by reading can be refused when it comes to write.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
