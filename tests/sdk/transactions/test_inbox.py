"""One delivery at the consumer: inbox row, work and report."""

import sqlite3

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from aftercommit.sdk.consumer.delivery import Delivery, NotOurs
from aftercommit.sdk.consumer.inbox import AsyncInbox, Inbox
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from aftercommit.sdk.errors import NotFound
from aftercommit.sdk.transactions.points import Point
from tests.sdk.transactions.recorder import AwaitedRecorder, refused, unreachable

DELIVERY = Delivery(id="m1", topic="orders.created", body=b'{"order": 1}')


def reserve(delivery: Delivery, tx) -> None:
    tx.session.execute("INSERT INTO orders VALUES (?)", [delivery.json()["order"]])


@pytest.fixture
def inbox(service, path) -> Inbox:
    """An inbox over the file."""
    return Inbox(service, lambda: sqlite3.connect(path, timeout=0.2), subscription="stock")


def rows(other, table: str) -> int:
    (number,) = other.execute(f"SELECT count(*) FROM {table}").fetchone()
    return number


def test_the_work_is_done_once_and_a_duplicate_is_reported_again(inbox, service, other):
    assert inbox.receive(DELIVERY, reserve) is Receipt.COMPLETED
    assert inbox.receive(DELIVERY, reserve) is Receipt.DUPLICATE
    assert service.told == [("complete", ("m1",)), ("complete", ("m1",))]
    assert rows(other, "orders") == rows(other, "aftercommit_inbox") == 1


def test_each_subscription_works_for_itself(inbox, service, path, other):
    another = Inbox(service, lambda: sqlite3.connect(path), subscription="billing")
    assert inbox.receive(DELIVERY, lambda delivery, tx: None) is Receipt.COMPLETED
    assert another.receive(DELIVERY, lambda delivery, tx: None) is Receipt.COMPLETED
    assert rows(other, "aftercommit_inbox") == 2


@pytest.mark.parametrize("error", [RetryLater("not now"), KeyError("a bug")], ids=["wish", "bug"])
def test_work_that_raises_is_undone_and_not_reported(inbox, service, other, error):
    def work(delivery: Delivery, tx) -> None:
        reserve(delivery, tx)
        raise error

    assert inbox.receive(DELIVERY, work) is Receipt.RETRY_LATER
    assert service.told == []
    assert rows(other, "orders") == rows(other, "aftercommit_inbox") == 0
    assert inbox.receive(DELIVERY, reserve) is Receipt.COMPLETED


@pytest.mark.parametrize("raised", [True, False], ids=["raised", "returned"])
def test_a_refusal_is_undone_and_reported_as_failed(inbox, service, other, raised):
    def work(delivery: Delivery, tx) -> Fail:
        reserve(delivery, tx)
        if raised:
            raise Fail("there is no such item")
        return Fail("there is no such item")

    assert inbox.receive(DELIVERY, work) is Receipt.FAILED
    assert service.told == [("fail", ("m1",))]
    assert rows(other, "orders") == rows(other, "aftercommit_inbox") == 0


def test_a_duplicate_key_of_the_works_own_is_no_duplicate_delivery(inbox, service, other):
    other.execute("INSERT INTO orders VALUES (1)")
    assert inbox.receive(DELIVERY, reserve) is Receipt.RETRY_LATER
    assert service.told == []
    assert rows(other, "aftercommit_inbox") == 0


def test_work_that_commits_by_itself_is_not_taken_for_whole(inbox, service, other):
    def work(delivery: Delivery, tx) -> None:
        reserve(delivery, tx)
        tx.session.rollback()

    assert inbox.receive(DELIVERY, work) is Receipt.RETRY_LATER
    assert service.told == []
    assert rows(other, "orders") == rows(other, "aftercommit_inbox") == 0


def test_what_the_work_publishes_goes_with_its_transaction(inbox, service, other):
    published: list[str] = []

    def work(delivery: Delivery, tx) -> None:
        published.append(tx.publish("stock.reserved", {}))

    assert inbox.receive(DELIVERY, work) is Receipt.COMPLETED
    assert service.told == [("prepare", tuple(published)), ("confirm", tuple(published)), ("complete", ("m1",))]
    assert other.execute("SELECT message_id FROM aftercommit_outcome").fetchall() == [(published[0],)]


@pytest.mark.parametrize("answer", [unreachable(), refused(NotFound)], ids=["unreachable", "not found"])
def test_a_report_that_is_not_taken_does_not_undo_the_work(inbox, service, other, answer, caplog):
    service.answers["complete"] = answer
    assert inbox.receive(DELIVERY, reserve) is Receipt.COMPLETED
    assert rows(other, "orders") == 1
    assert "could not be reported" in caplog.text


def test_a_redelivery_meant_for_others_is_left_alone(inbox, service):
    meant = Delivery.received({"aftercommit-id": "m1", "aftercommit-for": "billing, mails"}, b"1")
    assert inbox.receive(meant, reserve) is Receipt.NOT_MEANT
    assert service.told == []


def test_without_its_table_nothing_is_worked_on(inbox, service, other):
    other.execute("DROP TABLE aftercommit_inbox")
    assert inbox.receive(DELIVERY, reserve) is Receipt.RETRY_LATER
    assert rows(other, "orders") == 0


def test_without_a_database_the_work_has_no_transaction(service):
    seen = []
    assert Inbox(service).receive(DELIVERY, lambda delivery, tx: seen.append(tx)) is Receipt.COMPLETED
    assert seen == [None]
    with pytest.raises(TypeError, match="nothing to purge"):
        Inbox(service).purge()


def test_every_point_is_passed_in_order(service, path):
    passed: list[Point] = []
    inbox = Inbox(service, lambda: sqlite3.connect(path), subscription="stock", probe=passed.append)
    inbox.receive(DELIVERY, reserve)
    assert passed == [
        Point.BEFORE_WORK,
        Point.AFTER_WORK,
        Point.BEFORE_COMMIT,
        Point.BEFORE_REPORT,
        Point.AFTER_REPORT,
    ]


def test_a_sessionmaker_gives_the_work_a_session(service, path, other):
    engine = create_engine(f"sqlite:///{path}")
    inbox = Inbox(service, sessionmaker(engine), subscription="stock")

    def work(delivery: Delivery, tx) -> None:
        tx.session.execute(text("INSERT INTO orders VALUES (1)"))

    assert [inbox.receive(DELIVERY, work) for _ in range(2)] == [Receipt.COMPLETED, Receipt.DUPLICATE]
    assert rows(other, "orders") == 1
    engine.dispose()


async def test_the_inbox_for_asyncio_does_the_same(service, path, other):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    inbox = AsyncInbox(AwaitedRecorder(service), async_sessionmaker(engine), subscription="stock")

    async def work(delivery: Delivery, tx) -> None:
        await tx.session.execute(text("INSERT INTO orders VALUES (1)"))

    assert [await inbox.receive(DELIVERY, work) for _ in range(2)] == [Receipt.COMPLETED, Receipt.DUPLICATE]
    assert rows(other, "orders") == 1
    await engine.dispose()


def test_old_rows_are_purged_once_the_service_has_settled_them(inbox, service, other):
    other.execute("INSERT INTO aftercommit_inbox VALUES ('stock', 'old', '2020-01-01 00:00:00.000')")
    other.execute("INSERT INTO aftercommit_inbox VALUES ('billing', 'old', '2020-01-01 00:00:00.000')")
    inbox.receive(DELIVERY, reserve)
    assert inbox.purge() == 1
    assert sorted(other.execute("SELECT subscription, message_id FROM aftercommit_inbox")) == [
        ("billing", "old"),
        ("stock", "m1"),
    ]


def test_a_delivery_reads_the_headers_of_every_transport():
    delivery = Delivery.received(
        {
            "Aftercommit-Id": b"m1",
            "aftercommit-topic": "orders.created",
            "aftercommit-attempt": "3",
            "aftercommit-key": "caf\u00e9".encode(),
            "aftercommit-app": "orders",
            "ce-id": "m1",
            "content-type": "application/json",
            "traceparent": "00-1-2-01",
            "tenant": "a",
        },
        b"{}",
    )
    assert delivery == Delivery(
        id="m1",
        topic="orders.created",
        body=b"{}",
        key="caf\u00e9",
        headers={"traceparent": "00-1-2-01", "tenant": "a"},
        attempt=3,
        app="orders",
    )
    assert delivery.is_for("anything")


@pytest.mark.parametrize("headers", [{}, {"aftercommit-id": ""}, {"ce-id": "x"}])
def test_what_has_no_id_of_ours_is_not_ours(headers):
    with pytest.raises(NotOurs):
        Delivery.received(headers, b"")
