"""The schema's versions: numbered SQL files, each applied in one transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sqlite.connection import (
    connect_reader,
    connect_writer,
    make_file,
    require_version,
    told_as_ours,
)
from aftercommit.stores.sqlite.lock import FileLock

# Written into the file's header ("ACmt"), so that nobody's else database is mistaken for ours.
APPLICATION_ID: Final = 0x41436D74


class Migration(NamedTuple):
    """A step of the schema. Its number is the version it leads to."""

    number: int
    name: str
    sql: str

    @property
    def script(self) -> str:
        """The step as one transaction, together with the number it leads to."""
        return (
            f"BEGIN IMMEDIATE;\n{self.sql}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {self.number};\nCOMMIT;"
        )


def run_migrations(path: Path) -> list[str]:
    """Bring the database at `path` up to date, making it where there is none; the names of what was applied.

    Raises `ConfigurationError` while a service uses the database.
    """
    with _locked(path), told_as_ours("migrate the database"):
        connection = connect_writer(path)
        try:
            return apply_missing(connection, path)
        finally:
            connection.close()


def missing_migrations(path: Path) -> list[str]:
    """The names of the migrations that the database at `path` still needs. Changes nothing."""
    return [each.name for each in _read_missing(path)]


def migrations_sql(path: Path) -> str:
    """What `run_migrations` would run, as a script for `sqlite3`; empty where nothing is missing."""
    return "\n".join(each.script for each in _read_missing(path))


def apply_missing(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Apply what is missing; the names of what was applied."""
    missing = _missing(connection, path)
    for each in missing:
        try:
            connection.executescript(each.script)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return [each.name for each in missing]


def known_migrations() -> list[Migration]:
    """Every migration this version knows, in order."""
    folder = resources.files("aftercommit.stores.sqlite") / "migrations"
    names = sorted(each.name.removesuffix(".sql") for each in folder.iterdir() if each.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, (folder / f"{name}.sql").read_text("utf-8")) for name in names]


def _read_missing(path: Path) -> list[Migration]:
    require_version()
    if not path.exists():
        return known_migrations()
    with told_as_ours("read the schema's version"):
        connection = connect_reader(path)
        try:
            return _missing(connection, path)
        finally:
            connection.close()


def _missing(connection: sqlite3.Connection, path: Path) -> list[Migration]:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    known = known_migrations()
    if application != APPLICATION_ID and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise ConfigurationError(f"The database {path} is not AfterCommit's: give the service a file of its own.")
    if version > known[-1].number:
        raise ConfigurationError(
            f"The database {path} has schema version {version}, this AfterCommit knows {known[-1].number} at most:"
            " run the newer AfterCommit that wrote it."
        )
    return [each for each in known if each.number > version]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    require_version()
    lock = FileLock(path)
    lock.take()
    try:
        make_file(path)
        yield
    finally:
        lock.release()
