"""The floor: the statements the SQLite store runs, recorded once and replayed in a bare loop on a copy of the database.

What the service adds (HTTP, JSON, futures, the pure transitions, the hop to the writer's thread) is the difference.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from aftercommit.clocks import wall_ms
from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Catalog
from aftercommit.domain.step import Context
from aftercommit.stores.sqlite import SqliteStore
from aftercommit.stores.sqlite.connection import connect_writer
from aftercommit.stores.sqlite.fold import write_work
from benchmarks.http import Run
from benchmarks.lives import Pipeline, register_in, run_cycles, run_prepares

MESSAGES = 12_000
Statement = tuple[str, Sequence[Any]]


class Recorder:
    """A connection that remembers what it was asked to run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.statements: list[Statement] = []

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run it, and remember it."""
        self.statements.append((sql, parameters))
        return self._connection.execute(sql, parameters)


class Recording:
    """A database with one topic, and what a store would run on it."""

    def __init__(self, path: Path) -> None:
        self.catalog = asyncio.run(_registered(path))
        self._connection = connect_writer(path)
        self._recorder = Recorder(self._connection)

    def transaction(self, work: Sequence[c.Work]) -> list[Any]:
        """Run `work` as the store does, in one transaction."""
        context = Context(now=wall_ms(), catalog=self.catalog, chance=lambda: 0.5)
        self._recorder.execute("BEGIN IMMEDIATE")
        results = write_work(self._recorder, context, work)  # type: ignore[arg-type]  # the part of a connection it uses
        self._recorder.execute("COMMIT")
        return results

    def close(self) -> list[Statement]:
        """What was run."""
        self._connection.close()
        return self._recorder.statements


def floor_prepares(batch: int, directory: Path | None) -> float:
    """Prepares per second of the bare loop, `batch` to a transaction."""
    return _replayed(directory, partial(_record, run_prepares, batch))


def floor_idle(directory: Path | None, count: int, per_second: float) -> Run:
    """Single prepares of the bare loop at a fixed rate: how long the disk alone makes one wait."""

    with _recorded(directory, lambda recording: _record(run_prepares, 1, recording, count)) as (
        statements,
        connection,
        _,
    ):
        run = Run()
        started = intended = perf_counter()
        for sql, parameters in statements:
            if sql.startswith("BEGIN"):
                intended = started + run.done / per_second
                sleep(max(0.0, intended - perf_counter()))
            connection.execute(sql, parameters).fetchall()
            if sql == "COMMIT":
                run.latencies.append(perf_counter() - intended)
                run.done += 1
        run.seconds = perf_counter() - started
        return run


def floor_cycles(batch: int, directory: Path | None) -> float:
    """Life cycles per second of the bare loop, `batch` of each verb to a transaction."""
    return _replayed(directory, partial(_record, run_cycles, batch))


def _record(run: Callable[..., int], batch: int, recording: Recording, messages: int = MESSAGES) -> int:
    return run(Pipeline(recording.catalog, batch), recording.transaction, batch, messages)


def _replayed(directory: Path | None, record: Callable[[Recording], int]) -> float:
    with _recorded(directory, record) as (statements, connection, done):
        started = perf_counter()
        for sql, parameters in statements:
            connection.execute(sql, parameters).fetchall()
        return done / (perf_counter() - started)


@contextmanager
def _recorded(
    directory: Path | None, record: Callable[[Recording], int]
) -> Iterator[tuple[list[Statement], sqlite3.Connection, int]]:
    """What was recorded, a connection to replay it on, and how many messages it is about."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        path, copy = Path(folder) / "recorded.db", Path(folder) / "replayed.db"
        recording = Recording(path)
        shutil.copy(path, copy)
        done = record(recording)
        statements = recording.close()
        connection = connect_writer(copy)
        try:
            yield statements, connection, done
        finally:
            connection.close()


async def _registered(path: Path) -> Catalog:
    store = SqliteStore(path, chance=lambda: 0.5)
    await store.open(wall_ms())
    catalog = await register_in(store)
    await store.close()
    return catalog
