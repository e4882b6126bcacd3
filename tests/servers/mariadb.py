"""MariaDB (or MySQL's own programs under the same names), durable as in production."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers.databases import FreshDatabase, unique_name
from tests.servers.programs import find_program, unprivileged
from tests.servers.server import Server

CONNECTIONS_MAX = 200
USER = "aftercommit"
PASSWORD = "secret"


class MariaDB(Server):
    """A MariaDB server that flushes its log at every commit, with one user who may do everything."""

    name = "MariaDB"
    default_port = 3306

    def __init__(self, server: Path, installer: Path) -> None:
        super().__init__(unprivileged("mysql"))
        self._server = server
        self._installer = installer
        self._data = self.folder / "data"

    @classmethod
    def found(cls) -> Self | None:
        """A server, not started yet; None if this machine has no MariaDB."""
        server = find_program("mariadbd", "mysqld")
        installer = find_program("mariadb-install-db", "mysql_install_db")
        return cls(server, installer) if server and installer else None

    def prepare(self) -> None:
        self.run(
            [
                str(self._installer),
                *("--no-defaults", f"--datadir={self._data}", "--auth-root-authentication-method=normal"),
                *("--skip-test-db", "--skip-name-resolve"),
            ]
        )
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
        )

    def command(self) -> list[str]:
        settings = {
            "datadir": self._data,
            "bind-address": self.host,
            "port": self.port,
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "init-file": self.folder / "init.sql",
            "max-connections": CONNECTIONS_MAX,
            "innodb-flush-log-at-trx-commit": 1,
            "innodb-buffer-pool-size": "64M",
            "character-set-server": "utf8mb4",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._server), "--no-defaults", "--skip-name-resolve", *options]

    def answers(self) -> bool:
        import pymysql

        try:
            self._execute("SELECT 1")
        except pymysql.err.OperationalError:
            return False
        return True

    @contextmanager
    def database(self) -> Iterator[FreshDatabase]:
        """An empty database for one test; it is dropped afterwards even if somebody is still connected to it."""
        name = unique_name()
        self._execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield FreshDatabase("mysql", self.host, self.port, USER, PASSWORD, name)
        finally:
            if self.running:
                self._drop(name)

    def _drop(self, name: str) -> None:
        """Drop the database; whoever still has a transaction there would make the DROP wait, and is cut off."""
        import pymysql

        connected = self._execute(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'")
        for (connection_id,) in connected:
            try:
                self._execute(f"KILL CONNECTION {connection_id}")
            except pymysql.err.OperationalError as error:
                if error.args[0] != pymysql.constants.ER.NO_SUCH_THREAD:
                    raise
        self._execute(f"DROP DATABASE {name}")

    def _execute(self, statement: str) -> tuple[tuple[object, ...], ...]:
        import pymysql

        options = {"user": USER, "password": PASSWORD, "connect_timeout": 5}
        connection = pymysql.connect(host=self.host, port=self.port, autocommit=True, **options)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return tuple(cursor.fetchall())
        finally:
            connection.close()
