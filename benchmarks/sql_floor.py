"""The floor on a database server: what the store says to it, recorded once and said again in bare loops.

The replay runs over as many connections as the store writes on, each with messages of its own, on a database that
began like the recorded one. What the service adds (HTTP, JSON, futures, the pure transitions) is the difference.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from time import perf_counter
from typing import Any, Final

import uvloop

from aftercommit.clocks import wall_ms
from aftercommit.domain import commands as c
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.pool import Pool
from aftercommit.stores.sql.session import Row, Session
from aftercommit.stores.sql.statements import Put
from aftercommit.stores.sql.store import SqlStore
from benchmarks.http import Run
from benchmarks.lives import Pipeline, register_in
from tests.servers.databases import FreshDatabase

MESSAGES: Final = 12_000
CONNECTIONS: Final = 2
HOLD_SECONDS: Final = 60.0
# The name of a session's method, and what it was called with.
Said = tuple[str, tuple[Any, ...]]
Databases = Callable[[], AbstractContextManager[FreshDatabase]]


class Recorder:
    """A `Session` that remembers what was said over it, in order."""

    def __init__(self, session: Session, said: list[Said]) -> None:
        self._session = session
        self._said = said

    @property
    def usable(self) -> bool:
        """Whether it can be lent again."""
        return self._session.usable

    async def begin(self) -> None:
        """Begin, and remember it; the others alike."""
        self._said.append(("begin", ()))
        await self._session.begin()

    async def commit(self) -> None:
        """Commit."""
        self._said.append(("commit", ()))
        await self._session.commit()

    async def rollback(self) -> None:
        """What is undone cannot be replayed: there is nobody here to collide with."""
        raise AssertionError("A recorded transaction was rolled back.")

    async def rows(self, statement: str, *values: object) -> Sequence[Row]:
        """Ask."""
        self._said.append(("rows", (statement, *values)))
        return await self._session.rows(statement, *values)

    async def run(self, statement: str, *values: object) -> int:
        """Change."""
        self._said.append(("run", (statement, *values)))
        return await self._session.run(statement, *values)

    async def put(self, *puts: tuple[Put, Sequence[Sequence[object]]]) -> list[int]:
        """Write."""
        self._said.append(("put", puts))
        return await self._session.put(*puts)

    def terminate(self) -> None:
        """Hang up."""
        self._session.terminate()


def make_tables(database: FreshDatabase) -> None:
    """The schema, in an empty database."""

    async def make() -> None:
        store = SqlStore(Address.parse(database.url()), chance=lambda: 0.5, migrate=True)
        await store.open(wall_ms())
        await store.close()

    asyncio.run(make())


Play = Callable[[SqlStore, int], Awaitable[int]]


def floor_prepares(databases: Databases, batch: int) -> float:
    """Prepares per second of the bare loops, `batch` to a transaction."""
    return uvloop.run(_replayed(databases, lambda store, messages: _prepares(store, batch, messages)))


def floor_cycles(databases: Databases, batch: int) -> float:
    """Life cycles per second of the bare loops, `batch` of each verb to a transaction."""
    return uvloop.run(_replayed(databases, lambda store, messages: _cycles(store, batch, messages)))


def floor_idle(databases: Databases, count: int, per_second: float) -> Run:
    """Single prepares of a bare loop at a fixed rate."""
    return uvloop.run(_idle(databases, count, per_second))


async def _prepares(store: SqlStore, batch: int, messages: int) -> int:
    pipeline = Pipeline(store.catalog, batch)
    for _ in range(messages // batch):
        await store.write(pipeline.prepares(batch), wall_ms())
    return messages // batch * batch


async def _cycles(store: SqlStore, batch: int, messages: int) -> int:
    pipeline = Pipeline(store.catalog, batch)
    for _ in range(messages // batch):
        work: Sequence[c.Work] = pipeline.step()
        pipeline.take(await store.write(work, wall_ms()))
    return pipeline.completed


async def _replayed(databases: Databases, play: Play) -> float:
    """`play` recorded once per connection, each on a database of its own, and all replayed at once on another."""
    recorded = [await _recorded(databases, play, MESSAGES // CONNECTIONS, seed) for seed in range(CONNECTIONS)]
    with databases() as database:
        async with _opened(database, 0):
            pass
        sessions = [await _connect(database) for _ in recorded]
        started = perf_counter()
        await asyncio.gather(*(_say(session, said) for session, (said, _) in zip(sessions, recorded, strict=True)))
        seconds = perf_counter() - started
        for each in sessions:
            each.terminate()
    return sum(done for _, done in recorded) / seconds


async def _idle(databases: Databases, count: int, per_second: float) -> Run:
    said, _ = await _recorded(databases, lambda store, messages: _prepares(store, 1, messages), count, 0)
    run = Run()
    with databases() as database:
        async with _opened(database, 0):
            pass
        session = await _connect(database)
        started = intended = perf_counter()
        for method, values in said:
            if method == "begin":
                intended = started + run.done / per_second
                await asyncio.sleep(max(0.0, intended - perf_counter()))
            await getattr(session, method)(*values)
            if method == "commit":
                run.latencies.append(perf_counter() - intended)
                run.done += 1
        run.seconds = perf_counter() - started
        session.terminate()
    return run


async def _say(session: Session, said: list[Said]) -> None:
    for method, values in said:
        await getattr(session, method)(*values)


async def _connect(database: FreshDatabase) -> Session:
    return await backend_for(Address.parse(database.url())).connector(HOLD_SECONDS)()


async def _recorded(databases: Databases, play: Play, messages: int, seed: int) -> tuple[list[Said], int]:
    """What the store says in `play`, and how many messages that is about."""
    said: list[Said] = []
    with databases() as database:
        async with _opened(database, seed) as store:

            async def connect() -> Session:
                return Recorder(await _connect(database), said)

            # Its writers are the only door through which one can listen; it has no reason to have one more.
            writers, store._writers = store._writers, Pool(connect, 1)
            writers.close()
            done = await play(store, messages)
    return said, done


@asynccontextmanager
async def _opened(database: FreshDatabase, seed: int) -> AsyncIterator[SqlStore]:
    """A store with the topic and its subscription. Seeds part the stripes of counters, as chance does."""
    store = SqlStore(Address.parse(database.url()), chance=random.Random(seed).random, migrate=True)
    await store.open(wall_ms())
    try:
        await register_in(store)
        yield store
    finally:
        await store.close()
