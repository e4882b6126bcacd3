"""NATS with JetStream: the system's program, else that of a wheel."""

import socket
from pathlib import Path
from typing import Self

from tests.servers.programs import find_program
from tests.servers.server import Server


class Nats(Server):
    """A NATS server with JetStream, whose streams survive a kill."""

    name = "NATS"
    default_port = 4222

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program

    @classmethod
    def found(cls) -> Self | None:
        """A server, not started yet; None if this machine has no NATS."""
        program = find_program("nats-server")
        return cls(program) if program else None

    @property
    def url(self) -> str:
        """The address as clients take it."""
        return f"nats://{self.host}:{self.port}"

    def command(self) -> list[str]:
        address = ["--addr", self.host, "--port", str(self.port)]
        return [str(self._program), *address, "--jetstream", "--store_dir", str(self.folder / "data")]

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                return connection.recv(64).startswith(b"INFO ")
        except OSError:
            return False
