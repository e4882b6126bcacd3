"""Connections as this store wants them, and what their errors mean."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aftercommit.domain.errors import ConfigurationError, Inconsistency, StoreUnavailable

VERSION_MIN: Final = (3, 35, 0)
_BUSY_TIMEOUT_SECONDS: Final = 5.0
_CACHE_KIB: Final = 65536
# Pages of the log that make a commit copy it into the database: measured in docs/decisions/0002-sqlite-store.md.
_CHECKPOINT_PAGES: Final = 4000
_STATEMENTS_CACHED: Final = 512
# What a full, broken, read-only or locked disk says. Everything else is a mistake of ours.
_TEMPORARY: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


def require_version() -> None:
    """Refuse a SQLite library without UPDATE FROM and without the JSON functions this store reads by."""
    if sqlite3.sqlite_version_info < VERSION_MIN:
        needed = ".".join(map(str, VERSION_MIN))
        raise ConfigurationError(
            f"Python was built with SQLite {sqlite3.sqlite_version}; the SQLite store needs {needed} or newer:"
            " use a newer Python, or another database."
        )


def make_file(path: Path) -> None:
    """Make the database's file where there is none. It will hold secrets: it is its owner's alone to read."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes: what it commits survives a loss of power."""
    connection = _connect(path)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", f"wal_autocheckpoint = {_CHECKPOINT_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def told_as_ours(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours: `StoreUnavailable` where a retry may help, `Inconsistency` otherwise."""
    try:
        yield
    except sqlite3.Error as error:
        # The driver's own refusals (a closed connection, too many parameters) carry no code of SQLite's.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
        if code & 0xFF in _TEMPORARY:
            raise StoreUnavailable(f"SQLite could not {doing}: {error}.") from error
        raise Inconsistency(f"SQLite refused to {doing}: {error}.") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS_CACHED,
    )
    # Text comes as the bytes it is stored as: decoded once, in C, by msgspec.
    connection.text_factory = bytes
    for pragma in (f"cache_size = -{_CACHE_KIB}", "temp_store = MEMORY", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
