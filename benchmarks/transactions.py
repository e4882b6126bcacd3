"""What a local transaction costs more when it publishes: time, processor time, round trips; and 64 of them at once.

Each figure stands beside the bare transaction (INSERT, COMMIT) on the same database in the same run, taken in turns.
"""

import asyncio
import sqlite3
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import msgspec
import uvloop

from aftercommit.sdk import AsyncClient, Client
from aftercommit.sdk.clients.exchange import Request
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.service import BlockingService
from aftercommit.sdk.tables import ddl
from aftercommit.sdk.transactions.transaction import Transaction
from aftercommit.sdk.transports.http_transport import HttpTransport
from benchmarks.node import Node
from tests.servers.databases import FreshDatabase
from tests.servers.postgres import Postgres

TOPIC = "orders.created"
PAYLOAD = {"order": 42, "note": "x" * 480}
ROUNDS = 5
CONCURRENT = 64


class Cost(msgspec.Struct, kw_only=True):
    """One way to run a transaction, in microseconds per transaction; calls and statements are ours alone."""

    name: str
    us: float
    cpu_us: float
    http_calls: float = 0
    statements: float = 0


class Throughput(msgspec.Struct, kw_only=True):
    """Many transactions at once; each publishes one message."""

    name: str
    per_second: float
    cpu_us: float


class _CountingTransport:
    """The client's own transport, counting."""

    def __init__(self) -> None:
        self._inner = HttpTransport()
        self.calls = 0

    def send(self, request: Request) -> Any:
        self.calls += 1
        return self._inner.send(request)

    def close(self) -> None:
        self._inner.close()


class _CountingHandle:
    """A handle, counting the statements that are ours, those of its own keeping included."""

    def __init__(self, target: Any) -> None:
        self._inner: Any = handle_of(target)
        self._execute = self._inner.execute
        setattr(self._inner, "execute", self.execute)  # noqa: B010 - a method may not be assigned to in the open
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        self.statements += 1
        return await self._execute(statement, parameters)


Work = Callable[[int], object]


def measure_costs(seconds: float, directory: Path | None) -> list[Cost]:
    """Blocking drivers, one transaction at a time."""
    rows: list[Cost] = []
    with Node(directory) as node:
        for name, connect, insert in _databases(directory):
            transport = _CountingTransport()
            with connect() as connection, Client(f"http://127.0.0.1:{node.port}", transport=transport) as client:
                rows += _in_turns(name, connection, insert, client, transport, seconds)
    return rows


def _in_turns(
    name: str,
    connection: Any,
    insert: Callable[[Any], None],
    client: Client,
    transport: _CountingTransport,
    seconds: float,
) -> list[Cost]:
    statements = 0

    def bare(_: int) -> None:
        insert(connection)
        connection.commit()

    def publishing(messages: int) -> None:
        nonlocal statements
        handle = _CountingHandle(connection)
        with Transaction(BlockingService(client), handle) as tx:
            insert(connection)
            for _ in range(messages):
                tx.publish(TOPIC, PAYLOAD)
        statements += handle.statements

    ways: list[tuple[str, Work, int]] = [
        (f"{name}: bare", bare, 0),
        (f"{name}: publishing 1 message", publishing, 1),
        (f"{name}: publishing 10 messages", publishing, 10),
    ]
    taken: dict[str, list[Cost]] = {way: [] for way, _, _ in ways}
    for _ in range(ROUNDS):
        for way, work, messages in ways:
            transport.calls, statements = 0, 0
            times, cpu = _repeat(partial(work, messages), seconds / ROUNDS / len(ways))
            taken[way].append(
                Cost(
                    name=way,
                    us=statistics.median(times) * 1e6,
                    cpu_us=cpu * 1e6,
                    http_calls=transport.calls / len(times),
                    statements=statements / len(times),
                )
            )
    return [_median(rows) for rows in taken.values()]


def _repeat(work: Callable[[], object], seconds: float) -> tuple[list[float], float]:
    """How long each repeat took, and the processor time of one."""
    times: list[float] = []
    cpu, until = process_time(), perf_counter() + seconds
    while (began := perf_counter()) < until or not times:
        work()
        times.append(perf_counter() - began)
    return times, (process_time() - cpu) / len(times)


def _median(rows: list[Cost]) -> Cost:
    return Cost(
        name=rows[0].name,
        us=statistics.median(row.us for row in rows),
        cpu_us=statistics.median(row.cpu_us for row in rows),
        http_calls=statistics.median(row.http_calls for row in rows),
        statements=statistics.median(row.statements for row in rows),
    )


@contextmanager
def _postgres() -> Iterator[FreshDatabase | None]:
    server = Postgres.found()
    if server is None:
        yield None
        return
    with server, server.database() as database:
        import psycopg

        with psycopg.connect(database.url()) as connection:
            for statement in [*ddl("postgresql"), "CREATE TABLE orders (number serial PRIMARY KEY, note text)"]:
                connection.execute(statement.encode())
        yield database


def _databases(directory: Path | None) -> Iterator[tuple[str, Callable[[], Any], Callable[[Any], None]]]:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        file = Path(folder) / "orders.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for statement in [*ddl("sqlite"), "CREATE TABLE orders (number INTEGER PRIMARY KEY, note TEXT)"]:
                connection.execute(statement)
        yield (
            "sqlite3",
            lambda: closing(sqlite3.connect(file)),
            lambda connection: connection.execute("INSERT INTO orders (note) VALUES ('x')"),
        )
    with _postgres() as database:
        if database is None:
            return
        import psycopg
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session

        yield (
            "PostgreSQL, psycopg",
            lambda: psycopg.connect(database.url()),
            lambda connection: connection.execute("INSERT INTO orders (note) VALUES ('x')"),
        )
        engine = create_engine(database.url("psycopg"))
        insert = text("INSERT INTO orders (note) VALUES ('x')")
        yield "PostgreSQL, SQLAlchemy Session", lambda: Session(engine), lambda session: session.execute(insert)
        engine.dispose()


def measure_throughput(seconds: float, directory: Path | None) -> list[Throughput]:
    """64 transactions at once on asyncpg, against a node on SQLite; the bare ones beside them."""
    with _postgres() as database:
        if database is None:
            return []
        with Node(directory) as node:
            return uvloop.run(_throughput(node.port, database.url(), seconds))


async def _throughput(port: int, url: str, seconds: float) -> list[Throughput]:
    import asyncpg

    async with (
        asyncpg.create_pool(url, min_size=CONCURRENT, max_size=CONCURRENT) as pool,
        AsyncClient(f"http://127.0.0.1:{port}") as client,
    ):

        async def bare() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO orders (note) VALUES ('x')")

        async def publishing() -> None:
            async with pool.acquire() as connection, client.transaction(connection) as tx:
                await connection.execute("INSERT INTO orders (note) VALUES ('x')")
                tx.publish(TOPIC, PAYLOAD)

        return [
            await _at_once("bare transactions, 64 at once", bare, seconds),
            await _at_once("publishing one message each, 64 at once", publishing, seconds),
        ]


async def _at_once(name: str, work: Callable[[], Any], seconds: float) -> Throughput:
    done = 0
    until = perf_counter() + seconds

    async def repeat() -> None:
        nonlocal done
        while perf_counter() < until:
            await work()
            done += 1

    began, cpu = perf_counter(), process_time()
    await asyncio.gather(*(repeat() for _ in range(CONCURRENT)))
    return Throughput(
        name=name, per_second=done / (perf_counter() - began), cpu_us=(process_time() - cpu) / max(done, 1) * 1e6
    )


def table(costs: list[Cost], throughputs: list[Throughput]) -> str:
    """Both as text."""
    line = "{:<42} {:>10} {:>10} {:>10} {:>10}"
    lines = [line.format("one local transaction", "us", "CPU us", "HTTP calls", "statements")]
    lines += [
        line.format(row.name, f"{row.us:,.0f}", f"{row.cpu_us:,.0f}", f"{row.http_calls:.2f}", f"{row.statements:.2f}")
        for row in costs
    ]
    lines += ["", line.format("many at once (asyncpg)", "per s", "CPU us", "", "")]
    lines += [line.format(row.name, f"{row.per_second:,.0f}", f"{row.cpu_us:,.0f}", "", "") for row in throughputs]
    return "\n".join(lines)
