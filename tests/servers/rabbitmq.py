"""RabbitMQ as an Erlang node of its own, with a name server of its own, so that no other node is ever touched."""

import secrets
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.servers.ports import accepts_connections, free_port
from tests.servers.programs import find_program, unprivileged
from tests.servers.server import Server, kill_tree

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
START_METHOD = b"\x01\x00\x00"


class RabbitMQ(Server):
    """A RabbitMQ node with the user guest, whose durable queues survive a kill."""

    name = "RabbitMQ"
    default_port = 5672

    def __init__(self, program: Path, name_server: Path) -> None:
        super().__init__(unprivileged("rabbitmq"))
        self._program = program
        self._epmd = name_server
        self._epmd_port = free_port()
        self._epmd_process: subprocess.Popen[bytes] | None = None
        self._distribution_port = free_port()
        self._node = f"aftercommit-{secrets.token_hex(4)}@localhost"

    @classmethod
    def found(cls) -> Self | None:
        """A server, not started yet; None if this machine has no RabbitMQ."""
        # The script on the PATH only looks whether it is called by the system's own user, and then calls this one.
        program = find_program("rabbitmq-server", folders=[Path("/usr/lib/rabbitmq/bin")])
        name_server = find_program("epmd")
        return cls(program, name_server) if program and name_server else None

    @property
    def url(self) -> str:
        """The address as clients take it."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    def prepare(self) -> None:
        # No plug-ins and no settings of the system's; a full disk of the machine must not block its publishers.
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = {self.host}:{self.port}\nlog.console = true\nlog.file = false\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        # Erlang would else start one in the background, which outlives the node.
        self._epmd_process = self.launch([str(self._epmd), "-address", self.host, "-port", str(self._epmd_port)])
        self.await_answer(self._epmd_process, lambda: accepts_connections(self._epmd_port))

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # The script replaces itself by Erlang instead of watching it: what is started is what is killed.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def command(self) -> list[str]:
        return [str(self._program)]

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                connection.sendall(PROTOCOL_HEADER)
                return connection.recv(64).startswith(START_METHOD)
        except OSError:
            return False

    def discard(self) -> None:
        self.kill9()
        if self._epmd_process is not None:
            kill_tree(self._epmd_process)
        super().discard()
