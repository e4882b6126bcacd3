"""`aftercommit worker`: real processes that pull from a real node, are stopped, killed, and outlive the node."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aftercommit import wire
from aftercommit.sdk.clients.client import Client
from tests.e2e.names import fresh
from tests.e2e.node import Node, plain_environment
from tests.e2e.waiting import eventually

WITHIN_SECONDS = 30.0
TABLES = """
CREATE TABLE aftercommit_inbox (
    subscription TEXT, message_id TEXT, at TEXT NOT NULL, PRIMARY KEY (subscription, message_id));
CREATE TABLE orders (id TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL);
"""


class Shop:
    """A topic whose deliveries a worker writes into a file."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.topic = fresh("orders.")
        self.client: Client = node.client("orders")
        with closing(sqlite3.connect(folder / "stock.db")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(TABLES)
        with node.client() as operator:
            for topic, name in ((self.topic, "stock"), (f"{self.topic}.mails", "mails")):
                operator.put_topic(
                    topic,
                    subscriptions=[wire.SubscriptionRequest(name=name, app="stock")],
                    policy={"redelivery_seconds": [1]},
                )

    @contextmanager
    def working(self, *names: str, **options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that runs these consumers; killed in the end."""
        flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aftercommit", "worker", *(f"shop_consumers:{each}" for each in names), *flags],
                cwd=Path(__file__).parent,
                env={**plain_environment(), **self.environment},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    @property
    def environment(self) -> dict[str, str]:
        """What the consumers are told."""
        return {"SHOP_FOLDER": str(self.folder), "SHOP_URL": self.node.url, "SHOP_TOPIC": self.topic}

    def publish(self, number: int, say: str = "") -> str:
        """An order."""
        return self.client.prepare(self.topic, {"order": number, "say": say}, confirmed=True).id

    def await_statuses(self, expected: dict[str, str]) -> None:
        """Each message has come to its status."""
        eventually(
            lambda: {each: self.client.message(each).status for each in expected},
            lambda seen: seen == expected,
            WITHIN_SECONDS,
        )

    def orders(self) -> list[int]:
        """The numbers that took effect."""
        with closing(sqlite3.connect(self.folder / "stock.db")) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM orders ORDER BY number")]

    def await_begun(self) -> None:
        """A slow handler is at work."""
        eventually((self.folder / "begun").exists, bool, WITHIN_SECONDS)

    def said(self) -> str:
        """What the worker wrote."""
        return (self.folder / "worker.log").read_text()


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[Shop]:
    """A shop on the shared node."""
    made = Shop(node, tmp_path)
    yield made
    made.client.close()


@pytest.mark.parametrize("consumer", ["consumer", "async_consumer"])
def test_a_worker_brings_every_message_to_its_end(shop: Shop, consumer: str):
    expected = {shop.publish(number): "completed" for number in range(40)}
    expected |= {shop.publish(40, "fail"): "failed", shop.publish(41, "later"): "completed"}
    with shop.working(consumer) as process:
        shop.await_statuses(expected)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_SECONDS) == 0, shop.said()
    assert shop.orders() == [*range(40), 41]
    assert "Traceback" not in shop.said()


@pytest.mark.parametrize("consumer", ["consumer", "async_consumer"])
def test_a_worker_that_is_asked_to_stop_finishes_what_runs(shop: Shop, consumer: str):
    message_id = shop.publish(1, "slow")
    with shop.working(consumer) as process:
        shop.await_begun()
        process.send_signal(signal.SIGTERM)
        eventually(shop.said, lambda said: "pulling no more" in said)
        (shop.folder / "go").touch()
        assert process.wait(WITHIN_SECONDS) == 0, shop.said()
    shop.await_statuses({message_id: "completed"})
    assert shop.orders() == [1]


@pytest.mark.parametrize("consumer", ["consumer", "async_consumer"])
@pytest.mark.parametrize("end", ["second signal", "grace over", "kill -9"])
def test_what_a_worker_did_not_finish_is_undone_and_comes_again(shop: Shop, consumer: str, end: str):
    message_id = shop.publish(1, "slow")
    with shop.working(consumer, grace_seconds="0.2" if end == "grace over" else "60") as process:
        shop.await_begun()
        if end == "kill -9":
            process.kill()
        else:
            process.send_signal(signal.SIGTERM)
        if end == "second signal":
            eventually(shop.said, lambda said: "pulling no more" in said)
            process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_SECONDS) == (-signal.SIGKILL if end == "kill -9" else 1), shop.said()
    assert shop.orders() == []
    (shop.folder / "go").touch()
    with shop.working(consumer):
        shop.await_statuses({message_id: "completed"})
    assert shop.orders() == [1]


def test_one_worker_runs_several_consumers(shop: Shop):
    expected = {shop.publish(number): "completed" for number in range(10)}
    mail = shop.client.prepare(f"{shop.topic}.mails", {}, confirmed=True).id
    with shop.working("consumer", "async_consumer") as process:
        shop.await_statuses({**expected, mail: "completed"})
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_SECONDS) == 0, shop.said()
    assert shop.orders() == sorted([0, *range(10)])


@pytest.mark.parametrize("consumer", ["consumer", "async_consumer"])
def test_a_worker_outlives_its_node(own_node: Node, tmp_path: Path, consumer: str):
    shop = Shop(own_node, tmp_path)
    with shop.working(consumer) as process:
        shop.await_statuses({shop.publish(1): "completed"})
        own_node.restart()
        shop.await_statuses({shop.publish(2): "completed"})
        assert process.poll() is None, shop.said()
    assert shop.orders() == [1, 2]
    shop.client.close()


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("shop_consumers", 2, "is not MODULE:NAME"),
        ("shop_consumers:nobody", 2, "shop_consumers has no nobody"),
        ("shop_consumers:TOPIC", 2, "is no Consumer and no AsyncConsumer, but str"),
        ("shop_consumers:idle", 1, "shop_consumers:idle has no handlers"),
        ("no_such_shop:consumer", 1, "no_such_shop cannot be imported: ModuleNotFoundError: No module named"),
        ("broken:consumer", 1, "broken cannot be imported: KeyError: 'SHOP'"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_sentence(shop: Shop, tmp_path: Path, name: str, code: int, sentence: str):
    (tmp_path / "broken.py").write_text("import os\nos.environ['SHOP']\n")
    environment = {**plain_environment(), **shop.environment, "PYTHONPATH": os.fspath(Path(__file__).parent)}
    ended = subprocess.run(
        [sys.executable, "-m", "aftercommit", "worker", name],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
    )
    assert ended.returncode == code
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
