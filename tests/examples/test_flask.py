"""Flask and SQLAlchemy on SQLite, and a worker."""

import sqlite3
from contextlib import closing
from pathlib import Path

from aftercommit.testing.node_process import Server
from tests.examples.conftest import EXAMPLES
from tests.examples.programs import await_that, done, post, running
from tests.servers.ports import free_port

FOLDER = EXAMPLES / "flask"


def rows(database: Path, column: str, table: str) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        return [value for (value,) in connection.execute(f'SELECT "{column}" FROM {table} ORDER BY 1')]


def test_orders_are_placed_in_one_process_and_reserved_in_another(node: Server, tmp_path: Path):
    log, port = tmp_path / "flask.log", free_port()
    own = f"http://127.0.0.1:{port}"
    world = {
        "AFTERCOMMIT_URL": node.url,
        "ORDERS_DATABASE": f"sqlite:///{tmp_path / 'orders.db'}",
        "STOCK_DATABASE": f"sqlite:///{tmp_path / 'stock.db'}",
    }
    done(["flask", "--app", "orders", "register", own], FOLDER, **world)
    with (
        running(["flask", "--app", "orders", "run", "--port", str(port)], FOLDER, log, **world),
        running(["aftercommit", "worker", "stock:consumer"], FOLDER, log, **world),
    ):
        await_that(lambda: post(f"{own}/orders", '{"number": 1}') == 201, log)
        assert post(f"{own}/orders", '{"number": 1}') == 500, "The same order twice is refused by the database."
        assert post(f"{own}/orders", '{"number": 2}') == 201
        await_that((tmp_path / "stock.db").exists, log)
        await_that(lambda: rows(tmp_path / "stock.db", "order", "reservations") == [1, 2], log)
        # A message that nobody confirmed: the application is asked, and rules it out.
        with node.client(app="orders") as client:
            left = client.prepare("orders.created", {"order": 3}, check_after_seconds=0.1)
            await_that(lambda: client.status_batch([left.id])[0].status == "rolled_back", log)
    assert rows(tmp_path / "orders.db", "number", "orders") == [1, 2]
