"""`aftercommit serve --workers 2` on PostgreSQL: one port, one announcement, and processes that may die."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from aftercommit.stores.sql.migrate import run_migrations
from tests.e2e.node import START_SECONDS, Node, plain_environment, serve_command
from tests.e2e.waiting import InBackground, eventually, spread
from tests.servers.postgres import Postgres


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    with postgres.database() as database:
        yield database.url()


@pytest.fixture
def two(tmp_path: Path, database_url: str) -> Iterator[Node]:
    """A node of two workers that is ready."""
    asyncio.run(run_migrations(database_url))
    with Node(tmp_path, options=("--database", database_url, "--workers", "2")) as node:
        yield node


def workers_of(node: Node) -> list[psutil.Process]:
    """The workers that run now."""
    return [each for each in psutil.Process(node.pid).children() if each.status() != psutil.STATUS_ZOMBIE]


def test_workers_that_cannot_run_are_refused_in_one_sentence(tmp_path: Path, database_url: str) -> None:
    refused = subprocess.run(
        serve_command(tmp_path / "unused.db", 0, "--database", database_url, "--workers", "2"),
        cwd=tmp_path,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("aftercommit migrate") == 1
    assert "Traceback" not in refused.stderr


def test_what_one_worker_wrote_the_other_reads(two: Node) -> None:
    def prepare_and_read(_number: int) -> list[str]:
        with two.caller("orders") as writes, two.caller("orders") as reads:
            ids = [writes.prepare("orders.created", confirmed=True).require(201)["id"] for _ in range(10)]
            return [reads.status(each) for each in ids]

    assert {status for seen in spread(8, prepare_and_read) for status in seen} <= {"pending_send", "sent"}
    assert two.log.read_text().count("listens on") == 1
    two.terminate()
    assert "Traceback" not in two.log.read_text()


def test_a_worker_that_is_killed_under_load_comes_back_and_nothing_acknowledged_is_lost(two: Node) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()

    def prepare_until_enough() -> int:
        broken = 0
        while not enough.is_set():
            with two.caller("orders") as caller:
                try:
                    while not enough.is_set():
                        acknowledged.append(caller.prepare("orders.created", confirmed=True).require(201)["id"])
                except (OSError, HTTPException):
                    broken += 1
        return broken

    with InBackground(prepare_until_enough) as one, InBackground(prepare_until_enough) as other:
        try:
            eventually(lambda: len(acknowledged), lambda count: count >= 50)
            before = workers_of(two)
            before[0].kill()
            eventually(lambda: len({*workers_of(two)} - {*before}), lambda new: new == 1)
            so_far = len(acknowledged)
            eventually(lambda: len(acknowledged), lambda count: count >= so_far + 50)
        finally:
            enough.set()
        # A connection ends with its worker; the next one finds the worker that lives.
        assert one.result() + other.result() <= 2

    with two.caller("orders") as caller:
        assert all(caller.status(each) in ("pending_send", "sent") for each in acknowledged)
    two.terminate()


def test_workers_whose_parent_was_killed_end_and_give_the_port_back(two: Node) -> None:
    orphans = workers_of(two)

    psutil.Process(two.pid).kill()

    _, alive = psutil.wait_procs(orphans, timeout=15)
    assert not alive
    two.start()
    with two.caller("orders") as caller:
        caller.prepare("orders.created").require(201)
    assert two.log.read_text().count("Traceback") == 0
