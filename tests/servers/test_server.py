"""Starting a server: what happens to one that cannot start, is not installed, or loses its tests."""

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from tests.servers import require_server
from tests.servers.kafka import Kafka
from tests.servers.mariadb import MariaDB
from tests.servers.nats import Nats
from tests.servers.ports import accepts_connections, free_port
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.redis import Redis
from tests.servers.server import await_ends

REPOSITORY = Path(__file__).parents[2]
STARTS_ONE_AND_IS_KILLED = """
import os, signal
from tests.servers.redis import Redis
server = Redis.found().__enter__()
print(server.pid, server.port, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Misconfigured(Redis):
    """A server with a setting that does not exist."""

    def command(self) -> list[str]:
        return [*super().command(), "--no-such-setting", "1"]


def test_a_server_that_ends_instead_of_starting_says_why_and_leaves_nothing():
    server = Misconfigured.found()
    require_server(Redis.name, server is not None)
    assert server is not None

    with pytest.raises(AssertionError, match=r"(?s)Redis ended with 1 .*no-such-setting"), server:
        pytest.fail("It started.")

    assert not server.folder.exists()


@pytest.mark.parametrize("kind", [Postgres, MariaDB, Redis, Nats, RabbitMQ, Kafka], ids=lambda kind: kind.name)
def test_a_server_that_is_not_installed_is_not_found(kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("tests.servers.programs.shutil.which", lambda _name, path: None)
    monkeypatch.setattr("tests.servers.postgres._program_folders", lambda: iter([tmp_path]))

    assert kind.found() is None


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells a process that its parent died.")
def test_a_server_dies_with_the_process_that_started_it():
    found = Redis.found()
    require_server(Redis.name, found is not None)
    assert found is not None
    found.discard()

    command = [sys.executable, "-c", STARTS_ONE_AND_IS_KILLED]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60).stdout
    pid, port, folder = said.split()
    with suppress(psutil.NoSuchProcess):
        await_ends([psutil.Process(int(pid))])

    assert not accepts_connections(int(port))
    shutil.rmtree(folder)


def test_a_free_port_is_not_one_that_the_kernel_gives_to_clients():
    port = free_port()

    assert not accepts_connections(port)
    assert port < 32_768
