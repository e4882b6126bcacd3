"""The floor: the statements the store runs, recorded once and replayed in a bare loop on a copy of the database.

What the service adds (HTTP, JSON, futures, the pure transitions, the hop to the writer's thread) is the difference.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import msgspec

from aftercommit.clocks import new_id, wall_ms
from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Catalog, SubscriptionSpec, TopicSpec, put_app, put_topic
from aftercommit.domain.message import Claimed
from aftercommit.domain.step import Context
from aftercommit.service.reception import read_prepare
from aftercommit.stores.sqlite import SqliteStore
from aftercommit.stores.sqlite.connection import connect_writer
from aftercommit.stores.sqlite.fold import Fold
from aftercommit.wire import PrepareRequest
from benchmarks.http import Run
from benchmarks.workloads import PAYLOAD, TOPIC

MESSAGES = 12_000
PULLS = 100
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
        self._topic = self.catalog.topics[next(iter(self.catalog.topics))]
        self._app = self._topic.app

    def transaction(self, work: Sequence[c.Work]) -> list[Any]:
        """Run `work` as the store does, in one transaction."""
        context = Context(now=wall_ms(), catalog=self.catalog, chance=lambda: 0.5)
        self._recorder.execute("BEGIN IMMEDIATE")
        results = Fold(self._recorder, context).run(work)  # type: ignore[arg-type]  # the part of a connection it uses
        self._recorder.execute("COMMIT")
        return results

    def prepares(self, count: int) -> list[c.Prepare]:
        """New messages with the benchmark's payload."""
        request = PrepareRequest(topic=TOPIC, payload=msgspec.Raw(PAYLOAD))
        policy = self.catalog.policy(self._topic.id)
        return [
            read_prepare(
                request,
                message_id=new_id(),
                app=self._app,
                topic=self._topic.id,
                policy=policy,
                now=wall_ms(),
                chance=0.5,
                traceparent=None,
            )
            for _ in range(count)
        ]

    def stage(self, new: list[c.Prepare], prepared: list[str], pulled: list[str]) -> list[str]:
        """One step of a full pipeline: prepare, confirm, send, pull and complete one batch each; returns the pulled."""
        [subscription] = self.catalog.route(self._topic.id)
        work: list[c.Work] = [
            *new,
            *(c.Confirm(id=each, app=self._app, actor="bench") for each in prepared),
            c.ClaimSends(topic=self._topic.id, limit=1000),
            *(c.ClaimPulls(subscription=subscription.id, limit=PULLS) for _ in range(-(-len(new) // PULLS))),
            *(c.Complete(id=each, app=self._app, actor="bench") for each in pulled),
        ]
        claims = [each for each in self.transaction(work) if isinstance(each, Claimed)]
        return [taken.message.id for claim in claims[1:] for taken in claim.taken]

    def close(self) -> list[Statement]:
        """What was run."""
        self._connection.close()
        return self._recorder.statements


def floor_prepares(batch: int, directory: Path | None) -> float:
    """Prepares per second of the bare loop, `batch` to a transaction."""
    return _replayed(directory, lambda recording: _record_prepares(recording, batch))


def floor_idle(directory: Path | None, count: int, per_second: float) -> Run:
    """Single prepares of the bare loop at a fixed rate: how long the disk alone makes one wait."""

    def record(recording: Recording) -> int:
        for _ in range(count):
            recording.transaction(recording.prepares(1))
        return count

    with _recorded(directory, record) as (statements, connection, _):
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
    return _replayed(directory, lambda recording: _record_cycles(recording, batch))


def _record_prepares(recording: Recording, batch: int) -> int:
    for _ in range(MESSAGES // batch):
        recording.transaction(recording.prepares(batch))
    return MESSAGES // batch * batch


def _record_cycles(recording: Recording, batch: int) -> int:
    prepared: list[str] = []
    pulled: list[str] = []
    completed = 0
    for _ in range(MESSAGES // batch):
        new = recording.prepares(batch)
        completed += len(pulled)
        pulled = recording.stage(new, prepared, pulled)
        prepared = [each.id for each in new]
    return completed


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
    await store.edit_catalog(
        lambda catalog: put_app(catalog, "bench", wall_ms(), check_url=None, check_signed=False), wall_ms()
    )
    [app] = store.catalog.apps.values()
    spec = TopicSpec(name=TOPIC, app=app.id, subscriptions=(SubscriptionSpec(name="consumer", app=app.id),))
    await store.edit_catalog(lambda catalog: put_topic(catalog, spec, wall_ms()), wall_ms())
    await store.close()
    return store.catalog
