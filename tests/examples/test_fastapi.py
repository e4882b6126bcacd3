"""FastAPI and SQLAlchemy for asyncio on PostgreSQL, delivered through NATS to a FastStream consumer."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aftercommit.testing.node_process import Server
from tests.examples.conftest import EXAMPLES
from tests.examples.programs import await_that, post, running
from tests.servers.databases import FreshDatabase
from tests.servers.nats import Nats
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres

FOLDER = EXAMPLES / "fastapi"


@pytest.fixture
def node(tmp_path: Path, jetstream_server: Nats) -> Iterator[Server]:
    """A node that delivers to NATS."""
    with Server(tmp_path, options=["--broker", jetstream_server.url]) as started:
        yield started


def rows(database: FreshDatabase, statement: bytes) -> list[int]:
    with psycopg.connect(database.url()) as connection:
        return [value for (value,) in connection.execute(statement)]


def test_orders_are_delivered_through_nats_once_although_the_consumer_is_killed(
    node: Server, tmp_path: Path, postgres: Postgres, jetstream_server: Nats
):
    log, port = tmp_path / "fastapi.log", free_port()
    own = f"http://127.0.0.1:{port}"
    with postgres.database() as orders, postgres.database() as stock:
        world = {
            "AFTERCOMMIT_URL": node.url,
            "ORDERS_URL": own,
            "ORDERS_DATABASE": orders.url("asyncpg"),
            "STOCK_DATABASE": stock.url("asyncpg"),
            "NATS_URL": jetstream_server.url,
        }
        with running(["uvicorn", "orders:app", "--port", str(port)], FOLDER, log, **world):
            await_that(lambda: post(f"{own}/orders", '{"number": 1}') == 201, log)
            with running(["stock.py"], FOLDER, log, **world) as first:
                await_that(lambda: 1 in reserved(stock), log)
                first.send_signal(signal.SIGKILL)
            numbers = list(range(2, 12))
            for number in numbers:
                assert post(f"{own}/orders", f'{{"number": {number}}}') == 201
            assert post(f"{own}/orders", '{"number": 2}') == 500, "The same order twice is refused by the database."
            with running(["stock.py"], FOLDER, log, **world), node.client(app="orders") as client:
                await_that(lambda: reserved(stock) == [1, *numbers], log)
                left = client.prepare("orders.created", {"order": 99}, check_after_seconds=0.1)
                await_that(lambda: client.status_batch([left.id])[0].status == "rolled_back", log)
                await_that(lambda: all(each.status == "completed" for each in delivered(client)), log)


def delivered(client) -> list:
    return [each for each in client.messages(topic="orders.created") if each.status != "rolled_back"]


def reserved(stock: FreshDatabase) -> list[int]:
    try:
        return rows(stock, b'SELECT "order" FROM reservations ORDER BY "order"')
    except psycopg.errors.UndefinedTable:
        return []
