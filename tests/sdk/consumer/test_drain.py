"""The testing kit drains a whole consumer: the real state machine in memory, the inbox in a real database."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.receipts import Fail
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import CRASH_POINTS, InMemoryService
from tests.sdk.consumer.pulled import TOPIC

IN_A_DELIVERY = [
    Point.BEFORE_WORK,
    Point.AFTER_WORK,
    Point.BEFORE_COMMIT,
    Point.BEFORE_REPORT,
    Point.AFTER_REPORT,
]


@pytest.fixture
def stock(aftercommit: InMemoryService, connect) -> Consumer:
    """A consumer that writes each order down."""
    aftercommit.subscribe(TOPIC, "stock", app="stock")
    consumer = Consumer(aftercommit.client("stock"), connect)

    @consumer.on(TOPIC, "stock")
    def reserve(delivery, tx) -> None:
        if delivery.json()["order"] < 0:
            raise Fail("there is no such order")
        tx.session.execute("INSERT INTO orders VALUES (?)", [delivery.json()["order"]])

    return consumer


def publish(service: InMemoryService, *numbers: int) -> None:
    for number in numbers:
        service.client("orders").prepare(TOPIC, {"order": number}, key=str(number), confirmed=True)


def test_a_consumer_is_drained(aftercommit, stock, orders):
    publish(aftercommit, 1, -2, 3)
    assert aftercommit.drain(stock).counts == {"completed": 2, "failed": 1}
    assert orders() == [1, 3]
    assert aftercommit.statuses() == {"completed": 2, "failed": 1}


@pytest.mark.parametrize("point", IN_A_DELIVERY)
def test_a_consumer_that_dies_anywhere_has_its_effect_once(aftercommit, stock, orders, path, point):
    publish(aftercommit, 1)
    with aftercommit.crash_at(point) as crash:
        aftercommit.drain(stock)
    assert crash.happened

    aftercommit.assert_consistent(
        TOPIC, committed={"1"}, effects=lambda: {str(each): orders().count(each) for each in orders()}, consumer=stock
    )
    assert orders() == [1]
    assert aftercommit.statuses() == {"completed": 1}


def test_the_points_of_a_delivery_are_among_those_that_can_be_crashed_at():
    assert set(IN_A_DELIVERY) <= set(CRASH_POINTS)


async def test_an_async_consumer_is_drained_on_the_tests_loop(aftercommit, path, orders):
    aftercommit.subscribe(TOPIC, "stock", app="stock")
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    consumer = AsyncConsumer(aftercommit.async_client("stock"), engine)

    @consumer.on(TOPIC, "stock")
    async def reserve(delivery, tx) -> None:
        await tx.session.execute(text("INSERT INTO orders VALUES (:order)"), delivery.json())

    publish(aftercommit, 1, 2)
    assert (await aftercommit.drain_async(consumer)).counts == {"completed": 2}
    assert orders() == [1, 2]
    await engine.dispose()


def test_an_async_consumer_is_drained_without_a_loop_too(aftercommit):
    consumer = AsyncConsumer(aftercommit.async_client("stock"))
    aftercommit.subscribe(TOPIC, "stock", app="stock")

    @consumer.on(TOPIC, "stock")
    async def reserve(delivery) -> None: ...

    publish(aftercommit, 1)
    assert aftercommit.drain(consumer).counts == {"completed": 1}
