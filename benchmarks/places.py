"""Where the table is measured: on SQLite, or on a throw-away PostgreSQL or MariaDB that is durable as in production."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks import floor
from benchmarks.http import Run
from benchmarks.meters import Counts, cpu_seconds, mysql_counts, postgres_counts
from benchmarks.node import Node
from tests.servers.databases import FreshDatabase


class Place(Protocol):
    """A kind of database: nodes on it, its costs, and the floors of the workloads."""

    title: str

    def node(self) -> AbstractContextManager[Node]:
        """A node that is ready, on an empty database."""

    def database_cpu_seconds(self) -> float:
        """Processor time that the database has used outside of the node."""

    def counts(self) -> Counts:
        """What the database has counted until now."""

    def floor_idle(self, count: int, per_second: float) -> Run:
        """Single prepares of a bare loop at a fixed rate: how long the disk alone makes one wait."""

    def floor_prepares(self, batch: int) -> float:
        """Prepares per second of a bare loop, `batch` to a transaction."""

    def floor_cycles(self, batch: int) -> float:
        """Life cycles per second of a bare loop, `batch` of each verb to a transaction."""


class SqlitePlace:
    """A file; its work is done by the node itself."""

    title = "SQLite"

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def node(self) -> AbstractContextManager[Node]:
        return Node(self._directory)

    def database_cpu_seconds(self) -> float:
        return 0.0

    def counts(self) -> Counts:
        return Counts()

    def floor_idle(self, count: int, per_second: float) -> Run:
        return floor.floor_idle(self._directory, count, per_second)

    def floor_prepares(self, batch: int) -> float:
        return floor.floor_prepares(batch, self._directory)

    def floor_cycles(self, batch: int) -> float:
        return floor.floor_cycles(batch, self._directory)


class ServerPlace:
    """A database server that runs for this measurement only."""

    def __init__(
        self,
        title: str,
        pid: int,
        databases: Callable[[], AbstractContextManager[FreshDatabase]],
        counts: Callable[[], Counts],
    ) -> None:
        self.title = title
        self._pid = pid
        self.databases = databases
        self._counts = counts

    @contextmanager
    def node(self) -> Iterator[Node]:
        from benchmarks.sql_floor import make_tables

        with self.databases() as database:
            make_tables(database)
            with Node(None, database.url()) as node:
                yield node

    def database_cpu_seconds(self) -> float:
        return cpu_seconds(self._pid)

    def counts(self) -> Counts:
        return self._counts()

    def floor_idle(self, count: int, per_second: float) -> Run:
        from benchmarks import sql_floor

        return sql_floor.floor_idle(self.databases, count, per_second)

    def floor_prepares(self, batch: int) -> float:
        from benchmarks import sql_floor

        return sql_floor.floor_prepares(self.databases, batch)

    def floor_cycles(self, batch: int) -> float:
        from benchmarks import sql_floor

        return sql_floor.floor_cycles(self.databases, batch)


def _end_orderly() -> None:
    """Let a request to end leave every block, so that servers and their folders go, too."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def postgresql() -> Iterator[ServerPlace]:
    """PostgreSQL."""
    from tests.servers.postgres import Postgres

    _end_orderly()
    server = Postgres.found()
    if server is None:
        raise SystemExit("There is no PostgreSQL here that an ordinary user can run.")
    with ExitStack() as stack:
        stack.enter_context(server)
        # The server's counters are asked for in a database of their own, which nobody drops meanwhile.
        watch = stack.enter_context(server.database())
        yield ServerPlace("PostgreSQL", server.pid, server.database, lambda: postgres_counts(watch.url()))


@contextmanager
def mariadb() -> Iterator[ServerPlace]:
    """MariaDB, or MySQL under the same names."""
    from tests.servers import mariadb as programs

    _end_orderly()
    server = programs.MariaDB.found()
    if server is None:
        raise SystemExit("There is no MariaDB here.")
    user, password = programs.USER, programs.PASSWORD
    with server:
        yield ServerPlace(
            "MariaDB", server.pid, server.database, lambda: mysql_counts(server.host, server.port, user, password)
        )


@contextmanager
def place_named(name: str, directory: Path | None) -> Iterator[Place]:
    """`sqlite`, `postgresql` or `mariadb`; its server runs until the end of the block."""
    match name:
        case "postgresql":
            with postgresql() as place:
                yield place
        case "mariadb":
            with mariadb() as place:
                yield place
        case _:
            yield SqlitePlace(directory)
