"""Redis, which writes every command to its log before it answers."""

import socket
from pathlib import Path
from typing import Self

from tests.servers.programs import find_program
from tests.servers.server import Server


class Redis(Server):
    """A Redis server without a password, whose data survives a kill."""

    name = "Redis"
    default_port = 6379

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program

    @classmethod
    def found(cls) -> Self | None:
        """A server, not started yet; None if this machine has no Redis."""
        program = find_program("redis-server", "valkey-server")
        return cls(program) if program else None

    @property
    def url(self) -> str:
        """The address as clients take it."""
        return f"redis://{self.host}:{self.port}/0"

    def command(self) -> list[str]:
        settings = {
            "bind": self.host,
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "daemonize": "no",
        }
        return [str(self._program), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                # While it still reads its log, it says -LOADING.
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
