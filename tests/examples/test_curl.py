"""The initiator in plain curl and bash."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from aftercommit.sdk import Client
from aftercommit.testing.node_process import Server
from tests.examples.conftest import EXAMPLES
from tests.servers import require_server

CURL = EXAMPLES / "curl"
TOPIC = "orders.created"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The order service's database, made as the script says."""
    for program in ("curl", "sqlite3", "bash"):
        require_server(program, found=shutil.which(program) is not None)
    path = tmp_path / "orders.db"
    run(["sqlite3", str(path)], stdin=(CURL / "tables.sql").read_text())
    return path


@pytest.fixture
def billing(node: Server) -> Iterator[Client]:
    """Who consumes the orders."""
    with node.client(app="billing") as client:
        client.put_topic(TOPIC, subscriptions=["billing"], policy={"check_after_seconds": 0.1})
        yield client


def run(command: list[str], *, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def orders(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM orders ORDER BY number")]


def place(node: Server, database: Path, number: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(
        [str(CURL / "place_order.sh"), str(number)], AFTERCOMMIT_URL=node.url, DATABASE=str(database), **environment
    )


def answer_checks(node: Server, database: Path) -> None:
    done = run([str(CURL / "answer_checks.sh"), "once"], AFTERCOMMIT_URL=node.url, DATABASE=str(database))
    assert done.returncode == 0, done.stderr


def test_an_order_is_written_and_delivered(node, database, billing):
    placed = place(node, database, 42)
    assert placed.returncode == 0, placed.stderr
    (message,) = billing.pull(TOPIC, "billing", wait_seconds=10)
    assert message.id == placed.stdout.strip()
    assert message.json() == {"order": 42}
    assert orders(database) == [42]


def test_an_order_that_is_refused_by_the_database_is_cancelled(node, database, billing):
    place(node, database, 42)
    refused = place(node, database, 42)
    assert refused.returncode == 1
    with node.client() as operator:
        statuses = sorted(message.status for message in operator.messages(topic=TOPIC))
    assert statuses == ["rolled_back", "sent"]


def test_an_order_whose_program_was_killed_after_its_commit_is_delivered_all_the_same(node, database, billing):
    killed = place(node, database, 42, CRASH_AFTER_COMMIT="1")
    assert killed.returncode == -9
    answer_checks(node, database)
    (message,) = billing.pull(TOPIC, "billing", wait_seconds=10)
    assert message.json() == {"order": 42}


def test_an_order_that_was_only_prepared_is_ruled_out(node, database, billing):
    with node.client(app="orders") as client:
        prepared = client.prepare(TOPIC, {"order": 42})
        answer_checks(node, database)
        assert client.status_batch([prepared.id])[0].status == "rolled_back"
    assert orders(database) == []
