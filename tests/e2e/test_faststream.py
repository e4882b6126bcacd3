"""FastStream's handlers inside the inbox, on every broker: real servers, a real node, a real process to be killed."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aftercommit import wire
from aftercommit.sdk.clients.client import Client
from tests.e2e.faststream_brokers import Carrier, KafkaCarrier, NatsCarrier, RabbitMQCarrier, RedisCarrier
from tests.e2e.faststream_program import SUBSCRIPTION
from tests.e2e.names import fresh
from tests.e2e.node import plain_environment
from tests.e2e.waiting import eventually

WITHIN_SECONDS = 40.0
TABLES = """
CREATE TABLE aftercommit_inbox (
    subscription TEXT, message_id TEXT, at TEXT NOT NULL, PRIMARY KEY (subscription, message_id));
CREATE TABLE orders (id TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Stock:
    """A consumer's place: its files, the broker it listens to, and the node it reports to."""

    carrier: Carrier
    topic: str
    folder: Path
    client: Client
    node_url: str

    @contextmanager
    def consuming(self, die_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The program of `faststream_program`, ready; killed in the end."""
        (self.folder / "ready").unlink(missing_ok=True)
        with (self.folder / "program.log").open("ab") as log:
            arguments = [self.carrier.kind, self.carrier.url, self.topic, self.node_url, str(self.folder), die_at]
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.faststream_program", *arguments],
                env={**plain_environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=log,
                stderr=log,
            )
        try:
            eventually(self.started(process), bool, WITHIN_SECONDS)
            yield process
        finally:
            process.kill()
            process.wait(10)

    def started(self, process: subprocess.Popen[bytes]) -> Any:
        """Whether it is ready, or died on purpose before it could say so."""
        return lambda: (self.folder / "ready").exists() or process.poll() == -signal.SIGKILL

    def publish(
        self, number: int, say: str = "", *, of: str | None = None, attempt: int = 1, meant_for: str = ""
    ) -> str:
        """Prepare and confirm a message at the node, and send it as the service would; `of`: send that one again."""
        body = b'{"order": %d, "say": "%s"}' % (number, say.encode())
        message_id = of or self.client.prepare(self.topic, {"order": number, "say": say}, confirmed=True).id
        headers = {
            "aftercommit-id": message_id,
            "aftercommit-topic": self.topic,
            "aftercommit-attempt": str(attempt),
            "aftercommit-key": "caf\u00e9",
            "aftercommit-app": "orders",
            "content-type": "application/json",
            **({"aftercommit-for": meant_for} if meant_for else {}),
        }
        asyncio.run(self.carrier.publish(headers, body))
        return message_id

    def await_status(self, message_id: str, status: str) -> None:
        """The node has it in this status."""
        eventually(lambda: self.client.message(message_id).status, lambda seen: seen == status, WITHIN_SECONDS)

    def await_nothing_left(self) -> None:
        """The broker has had every acknowledgement; what RabbitMQ has handed out it counts when nobody consumes."""
        eventually(lambda: asyncio.run(self.carrier.left()), lambda left: left == 0, WITHIN_SECONDS)

    def orders(self) -> list[tuple[int, int]]:
        """Number and attempt of each that took effect."""
        with closing(sqlite3.connect(self.folder / "stock.db")) as connection:
            return connection.execute("SELECT number, attempt FROM orders ORDER BY number").fetchall()

    def said(self) -> str:
        """What the program wrote."""
        return (self.folder / "program.log").read_text()


@pytest.fixture(params=["rabbitmq", "redis", "nats", "kafka"])
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """One topic at each broker."""
    topic = fresh("orders.")
    match request.param:
        case "rabbitmq":
            return RabbitMQCarrier(request.getfixturevalue("rabbitmq").url, topic)
        case "redis":
            return RedisCarrier(request.getfixturevalue("redis_server").url, topic)
        case "nats":
            return NatsCarrier(request.getfixturevalue("nats_server").url, topic)
        case _:
            return KafkaCarrier(request.getfixturevalue("kafka").bootstrap_servers, topic)


@pytest.fixture
def stock(carrier, node, tmp_path) -> Iterator[Stock]:
    """A consumer's place with everything laid out."""
    with closing(sqlite3.connect(tmp_path / "stock.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(TABLES)
    topic = carrier.topic
    with node.client() as operator:
        operator.put_topic(topic, subscriptions=[wire.SubscriptionRequest(name=SUBSCRIPTION, app="stock")])
    with node.client("orders") as client:
        asyncio.run(carrier.declare())
        yield Stock(carrier, topic, tmp_path, client, node.url)


def test_each_outcome_is_reported_once_and_every_copy_acknowledged(stock: Stock):
    with stock.consuming() as process:
        done, refused, later = stock.publish(1), stock.publish(2, "fail"), stock.publish(3, "later")
        stock.await_status(done, "completed")
        stock.await_status(refused, "failed")
        # What a broker delivers twice, and what is a redelivery for somebody else.
        stock.publish(1, of=done, attempt=2)
        stock.publish(3, of=later, attempt=2, meant_for="billing")
        last = stock.publish(4)
        stock.await_status(last, "completed")
        assert stock.client.message(later).status == "sent"
        # The service's redelivery, after the broker's copy was acknowledged without a report.
        stock.publish(3, "later", of=later, attempt=2, meant_for=SUBSCRIPTION)
        stock.await_status(later, "completed")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, stock.said()
    assert stock.orders() == [(1, 1), (3, 2), (4, 1)]
    assert stock.client.message(refused).deliveries[0].error == "there is no such item"
    stock.await_nothing_left()


@pytest.mark.parametrize("point", ["after_work", "before_report", "after_report"])
def test_a_handler_killed_before_the_acknowledgement_has_its_effect_once(stock: Stock, point: str):
    with stock.consuming(die_at=point) as process:
        message_id = stock.publish(1)
        process.wait(WITHIN_SECONDS)
    assert process.returncode == -signal.SIGKILL
    assert stock.orders() == ([] if point == "after_work" else [(1, 1)])
    assert stock.client.message(message_id).status == ("completed" if point == "after_report" else "sent")
    with stock.consuming() as process:
        stock.await_status(message_id, "completed")
        stock.await_status(stock.publish(2), "completed")
        # Some brokers take their time before they bring again what a dead reader had.
        stock.await_nothing_left()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, stock.said()
    assert stock.orders() == [(1, 1), (2, 1)]
    stock.await_nothing_left()


def test_a_stop_lets_the_handler_end(stock: Stock):
    with stock.consuming() as process:
        message_id = stock.publish(1, "slow")
        eventually((stock.folder / "begun").exists, bool, WITHIN_SECONDS)
        process.send_signal(signal.SIGTERM)
        (stock.folder / "go").touch()
        assert process.wait(30) == 0, stock.said()
    assert stock.client.message(message_id).status == "completed"
    assert stock.orders() == [(1, 1)]
    stock.await_nothing_left()
