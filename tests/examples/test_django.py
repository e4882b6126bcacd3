"""Django with the ORM, and a worker on Django's connection."""

import sqlite3
from contextlib import closing
from pathlib import Path

from aftercommit.testing.node_process import Server
from tests.examples.conftest import EXAMPLES
from tests.examples.programs import await_that, done, post, running
from tests.servers.ports import free_port

FOLDER = EXAMPLES / "django"


def rows(database: Path, statement: str) -> list[int]:
    with closing(sqlite3.connect(database, timeout=5)) as connection:
        return [value for (value,) in connection.execute(statement)]


def test_orders_are_placed_by_a_view_and_reserved_by_a_worker(node: Server, tmp_path: Path):
    log, port, database = tmp_path / "django.log", free_port(), tmp_path / "shop.db"
    own = f"http://127.0.0.1:{port}"
    world = {"AFTERCOMMIT_URL": node.url, "SHOP_DATABASE": str(database), "DJANGO_SETTINGS_MODULE": "shop.settings"}
    done(["manage.py", "migrate", "--verbosity", "0"], FOLDER, **world)
    done(["manage.py", "register", own], FOLDER, **world)
    with (
        running(["manage.py", "runserver", "--noreload", str(port)], FOLDER, log, **world),
        running(["aftercommit", "worker", "shop.consumers:consumer"], FOLDER, log, **world),
    ):
        await_that(lambda: post(f"{own}/orders", '{"number": 1}') == 201, log)
        assert post(f"{own}/orders", '{"number": 1}') == 500, "The same order twice is refused by the database."
        assert post(f"{own}/orders", '{"number": 2}') == 201
        await_that(lambda: rows(database, 'SELECT "order" FROM shop_reservation ORDER BY 1') == [1, 2], log)
        with node.client(app="orders") as client:
            left = client.prepare("orders.created", {"order": 3}, check_after_seconds=0.1)
            await_that(lambda: client.status_batch([left.id])[0].status == "rolled_back", log)
    assert rows(database, "SELECT number FROM shop_order ORDER BY 1") == [1, 2]
