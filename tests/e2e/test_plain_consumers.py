"""`Inbox.receive` in other people's consumers: a callback of pika, and a task of Celery."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pika
import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging

from aftercommit import wire
from aftercommit.sdk.clients.client import Client
from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.inbox import Inbox
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from tests.e2e.names import fresh
from tests.e2e.node import Node

PATIENCE_SECONDS = 20
TABLES = """
CREATE TABLE aftercommit_inbox (
    subscription TEXT, message_id TEXT, at TEXT NOT NULL, PRIMARY KEY (subscription, message_id));
CREATE TABLE orders (number INTEGER NOT NULL);
"""


@pytest.fixture
def _logging_left_alone() -> Iterator[None]:
    """Celery takes the root logger over, and nobody gives it back; a receiver of this signal keeps it from that."""

    def leave_alone(**_given: Any) -> None:
        """What is set up stays."""

    setup_logging.connect(leave_alone)
    yield
    setup_logging.disconnect(leave_alone)


@pytest.fixture
def client(node: Node, topic: str) -> Iterator[Client]:
    """The application that publishes and consumes."""
    with node.client() as operator:
        operator.put_topic(topic, subscriptions=[wire.SubscriptionRequest(name="stock", app="stock")])
    with node.client("stock") as made:
        yield made


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database file with the inbox."""
    made = tmp_path / "stock.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.executescript(TABLES)
    return made


@pytest.fixture
def inbox(client: Client, database: Path) -> Inbox:
    """The inbox of `stock`."""
    return Inbox(client, lambda: sqlite3.connect(database, timeout=10), subscription="stock")


def reserve(delivery: Delivery, tx: Any) -> Fail | None:
    order = delivery.json()
    tx.session.execute("INSERT INTO orders VALUES (?)", [order["order"]])
    if order["order"] == 3 and delivery.attempt == 1:
        raise RetryLater("not now")
    return Fail("there is no such item") if order["order"] == 2 else None


def sent(client: Client, topic: str, number: int) -> tuple[str, dict[str, Any], bytes]:
    """A message the node has sent, and what of it travels: its id, its headers, its body."""
    message_id = client.prepare(topic, {"order": number}, confirmed=True).id
    headers = {"aftercommit-id": message_id, "aftercommit-topic": topic, "aftercommit-attempt": "1"}
    return message_id, {**headers, "content-type": "application/json"}, b'{"order": %d}' % number


def orders(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM orders ORDER BY number")]


def require_outcomes(client: Client, database: Path, ids: list[str], receipts: list[Receipt]) -> None:
    """Each was sent twice, and the third once more as its second attempt."""
    assert receipts == [
        *(Receipt.COMPLETED, Receipt.DUPLICATE),
        *(Receipt.FAILED, Receipt.FAILED),
        *(Receipt.RETRY_LATER, Receipt.RETRY_LATER),
        Receipt.COMPLETED,
    ]
    assert [client.message(each).status for each in ids] == ["completed", "failed", "completed"]
    assert orders(database) == [1, 3]


def copies(client: Client, topic: str, send: Callable[[dict[str, Any], bytes], None]) -> list[str]:
    """Send what `require_outcomes` expects; the ids."""
    ids = []
    for number in (1, 2, 3):
        message_id, headers, body = sent(client, topic, number)
        send(headers, body)
        send(headers, body)
        ids.append(message_id)
    send({**headers, "aftercommit-attempt": "2", "aftercommit-for": "stock"}, body)
    return ids


def test_a_callback_of_pika_has_its_effect_once(rabbitmq, client, topic, inbox, database):
    queue = f"aftercommit.{topic}.stock"
    receipts: list[Receipt] = []
    with closing(pika.BlockingConnection(pika.URLParameters(rabbitmq.url))) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        ids = copies(
            client,
            topic,
            lambda headers, body: channel.basic_publish("", queue, body, pika.BasicProperties(headers=headers)),
        )

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            receipts.append(inbox.receive(Delivery.received(properties.headers, body), reserve))
            channel.basic_ack(method.delivery_tag)
            if len(receipts) == 7:
                channel.stop_consuming()

        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, on_message)
        channel.start_consuming()
        assert channel.queue_declare(queue, passive=True).method.message_count == 0
    require_outcomes(client, database, ids, receipts)


@pytest.mark.usefixtures("_logging_left_alone")
def test_a_task_of_celery_has_its_effect_once(redis_server, client, topic, inbox, database):
    app = Celery(fresh("stock"), broker=redis_server.url)
    # The task is acknowledged after it was done, as everything that must not be lost.
    app.conf.update(task_acks_late=True, task_default_queue=fresh("stock"), broker_connection_retry_on_startup=True)

    received: SimpleQueue[Receipt] = SimpleQueue()

    @app.task(ignore_result=True)
    def receive(headers: dict[str, str], body: str) -> None:
        received.put(inbox.receive(Delivery.received(headers, body.encode()), reserve))

    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=PATIENCE_SECONDS):
        ids = copies(client, topic, lambda headers, body: receive.delay(headers, body.decode()))
        receipts = [received.get(timeout=PATIENCE_SECONDS) for _ in range(7)]
    require_outcomes(client, database, ids, receipts)
