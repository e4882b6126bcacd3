"""PgBouncer: a pooler in front of a PostgreSQL that lends a server connection for one transaction."""

from pathlib import Path
from typing import Self

from tests.servers.databases import FreshDatabase
from tests.servers.postgres import PASSWORD, USER
from tests.servers.programs import find_program, runs_as, unprivileged
from tests.servers.server import Server

# Server connections per database: fewer than two stores would like to have.
POOL_SIZE = 2


class PgBouncer(Server):
    """PgBouncer in transaction mode. `postgres_port` is where its PostgreSQL listens on 127.0.0.1."""

    name = "PgBouncer"
    default_port = 6432

    def __init__(self, program: Path, postgres_port: int) -> None:
        super().__init__(unprivileged("postgres"))
        self._program = program
        self._postgres_port = postgres_port
        self._settings = self.folder / "pgbouncer.ini"

    @classmethod
    def found(cls, postgres_port: int) -> Self | None:
        """A pooler, not started yet; None if this machine has no PgBouncer that an ordinary user can run."""
        program = find_program("pgbouncer")
        if program is None or not runs_as(unprivileged("postgres"), program):
            return None
        return cls(program, postgres_port)

    def prepare(self) -> None:
        users = self.folder / "users.txt"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        self._settings.write_text(
            "[databases]\n"
            f"* = host={self.host} port={self._postgres_port}\n"
            "[pgbouncer]\n"
            f"listen_addr = {self.host}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\n"
            f"pool_mode = transaction\ndefault_pool_size = {POOL_SIZE}\n"
        )
        for each in (users, self._settings):
            self.account.own(each)

    def command(self) -> list[str]:
        return [str(self._program), str(self._settings)]

    def answers(self) -> bool:
        import psycopg

        address = FreshDatabase("postgresql", self.host, self.port, USER, PASSWORD, "postgres").url()
        try:
            with psycopg.connect(address, connect_timeout=5, prepare_threshold=None):
                return True
        except psycopg.OperationalError:
            return False

    def behind(self, database: FreshDatabase) -> FreshDatabase:
        """The same database, reached through the pooler."""
        return FreshDatabase(database.scheme, self.host, self.port, database.user, database.password, database.name)
