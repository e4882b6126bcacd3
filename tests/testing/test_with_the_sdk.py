"""The kit around the SDK's own transaction, barrier and inbox on SQLite: what a user's crash test looks like."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from aftercommit.sdk import PulledMessage
from aftercommit.sdk.barrier.barrier import AsyncBarrier, Barrier
from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.inbox import AsyncInbox, Inbox
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import CRASH_POINTS, InMemoryService

TOPIC = "orders.created"
TABLES = """
CREATE TABLE aftercommit_outcome (message_id TEXT PRIMARY KEY, outcome TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE aftercommit_inbox (
    subscription TEXT, message_id TEXT, at TEXT NOT NULL, PRIMARY KEY (subscription, message_id));
CREATE TABLE orders (number TEXT PRIMARY KEY);
CREATE TABLE bills (number TEXT);
"""
COMMITTING = (Point.AFTER_COMMIT, Point.AFTER_SEND)


class Program:
    """An initiator and a consumer, as users write them."""

    def __init__(self, service: InMemoryService, path: Path) -> None:
        self.path = path
        self.client = service.client(app="orders")
        self.inbox = Inbox(service.client(app="billing"), self.connect, subscription="billing")
        with closing(self.connect()) as connection:
            connection.executescript(TABLES)

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own."""
        return sqlite3.connect(self.path, timeout=0.2)

    def order(self, number: str) -> None:
        """One unit of work."""
        with closing(self.connect()) as connection, self.client.transaction(connection) as tx:
            connection.execute("INSERT INTO orders VALUES (?)", (number,))
            tx.publish(TOPIC, {"order": number}, key=number)

    def receive(self, message: PulledMessage) -> Receipt:
        """One delivery, not idempotent but for the inbox."""
        return self.inbox.receive(
            Delivery.pulled(message),
            lambda delivery, tx: tx.session.execute("INSERT INTO bills VALUES (?)", (delivery.key,)) and None,
        )

    def orders(self) -> set[str]:
        """What was committed."""
        return {number for (number,) in self._rows("SELECT number FROM orders")}

    def bills(self) -> Counter[str]:
        """What the consumer did."""
        return Counter(number for (number,) in self._rows("SELECT number FROM bills"))

    def _rows(self, query: str) -> list[tuple[str]]:
        with closing(self.connect()) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def program(service: InMemoryService, tmp_path: Path) -> Program:
    """A program with its barrier answering checks."""
    made = Program(service, tmp_path / "shop.db")
    service.answer_checks_with(Barrier(made.connect))
    return made


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_delivered_if_and_only_if_committed_and_billed_once(service: InMemoryService, program: Program, point: Point):
    program.order("1")
    with service.crash_at(point) as crash:
        program.order("42")
        service.drain(program.receive)

    assert crash.happened
    service.assert_consistent(TOPIC, committed=program.orders(), effects=program.bills, consumer=program.receive)
    assert ("42" in program.orders()) == (point not in CRASH_POINTS[: CRASH_POINTS.index(Point.AFTER_COMMIT)])
    service.assert_settled()


@pytest.mark.parametrize("verb", ["prepare", "confirm", "complete"])
def test_lost_answers_change_nothing(service: InMemoryService, program: Program, verb: str):
    with service.lose_answers(verb, times=3) as lost:
        program.order("42")
        service.drain(program.receive)

    assert lost.lost == 3
    service.assert_consistent(TOPIC, committed={"42"}, effects=program.bills, consumer=program.receive)


def test_without_the_barriers_markers_the_same_test_finds_the_loss(service: InMemoryService, program: Program):
    with service.crash_at(Point.AFTER_COMMIT):
        program.order("42")
    with closing(program.connect()) as connection:
        connection.execute("DELETE FROM aftercommit_outcome")
        connection.commit()

    with pytest.raises(AssertionError, match="LOST: '42' committed"):
        service.assert_consistent(TOPIC, committed=program.orders())


def test_without_its_inbox_rows_the_same_test_finds_the_duplicate(service: InMemoryService, program: Program):
    program.order("42")

    def forget_and_receive(message: PulledMessage) -> Receipt:
        with closing(program.connect()) as connection:
            connection.execute("DELETE FROM aftercommit_inbox")
            connection.commit()
        return program.receive(message)

    with service.crash_at(Point.BEFORE_REPORT):
        service.drain(program.receive)

    with pytest.raises(AssertionError, match="DUPLICATE: '42' had its effect 2 times"):
        service.assert_consistent(committed={"42"}, effects=program.bills, consumer=forget_and_receive)


@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_the_same_holds_for_asyncio_on_the_tests_own_loop(
    service: InMemoryService, program: Program, point: Point
):
    engine = create_async_engine(f"sqlite+aiosqlite:///{program.path}")
    service.answer_checks_with(AsyncBarrier(engine))
    sessions = async_sessionmaker(engine)
    client = service.async_client(app="orders")
    inbox = AsyncInbox(service.async_client(app="billing"), sessions, subscription="billing")

    async def order(number: str) -> None:
        async with sessions() as session, client.transaction(session) as tx:
            await session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})
            tx.publish(TOPIC, {"order": number}, key=number)

    async def bill(delivery: Delivery, tx: Any) -> None:
        await tx.session.execute(text("INSERT INTO bills VALUES (:number)"), {"number": delivery.key})

    async def receive(message: PulledMessage) -> Receipt:
        return await inbox.receive(Delivery.pulled(message), bill)

    with service.crash_at(point) as crash:
        await order("42")
        await service.drain_async(receive)

    assert crash.happened
    await service.assert_consistent_async(TOPIC, committed=program.orders(), effects=program.bills, consumer=receive)
    service.assert_settled()
    await engine.dispose()
