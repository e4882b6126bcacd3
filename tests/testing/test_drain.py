"""Draining does what a consumer's runtime does, until nothing is due."""

import asyncio

import pytest

from aftercommit.sdk import PulledMessage
from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import InMemoryService

TOPIC = "orders.created"


@pytest.fixture
def published(service: InMemoryService) -> InMemoryService:
    """The service with three messages to deliver."""
    for number in range(3):
        service.client().prepare(TOPIC, number, key=str(number), confirmed=True)
    return service


def test_what_returns_is_completed(published: InMemoryService):
    seen: list[object] = []

    assert published.drain(lambda message: seen.append(message.json()), topic=TOPIC).counts == {"completed": 3}

    assert seen == [0, 1, 2]
    published.assert_settled()
    assert published.drain(print).counts == {}


def test_what_fails_is_not_delivered_again(published: InMemoryService):
    def refuse(message: PulledMessage) -> Fail | None:
        if message.key == "0":
            raise Fail("there is no item 0")
        return Fail("there is no item 1") if message.key == "1" else None

    assert published.drain(refuse).counts == {"failed": 2, "completed": 1}
    assert [each.error for each in published.messages(status="failed")] == ["there is no item 0", "there is no item 1"]


def test_what_raises_comes_again_in_its_time(published: InMemoryService):
    def stumble(message: PulledMessage) -> RetryLater | None:
        if message.attempt == 1 and message.key == "0":
            raise ConnectionError("the bank is closed")
        return RetryLater("the item is locked") if message.attempt == 1 else None

    drained = published.drain(stumble)
    assert drained.counts == {"retry_later": 3}
    assert "the bank is closed" in str(drained.errors[0][1])
    assert published.drain(stumble).counts == {}

    published.advance(60)
    assert published.drain(stumble).counts == {"completed": 3}


def test_what_a_handler_publishes_is_delivered_in_the_same_drain(service: InMemoryService):
    client = service.client()
    client.prepare(TOPIC, 3, confirmed=True)

    def count_down(message: PulledMessage) -> None:
        if message.json():
            client.prepare(TOPIC, message.json() - 1, confirmed=True)

    assert service.drain(count_down).counts == {"completed": 4}


def test_a_handler_that_feeds_itself_for_ever_is_told(service: InMemoryService, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aftercommit.testing.draining.DELIVERIES_MAX", 50)
    client = service.client()
    client.prepare(TOPIC, 1, confirmed=True)

    def again(message: PulledMessage) -> None:
        client.prepare(TOPIC, 1, confirmed=True)

    with pytest.raises(AssertionError, match="does it publish to itself"):
        service.drain(again)


def test_only_the_subscriptions_meant_are_drained(published: InMemoryService):
    published.subscribe(TOPIC, "stock", app="stock")
    published.client().prepare(TOPIC, 3, confirmed=True)

    assert published.drain(_nothing, topic=TOPIC, subscription="stock").counts == {"completed": 1}
    assert published.drain(_nothing, topic=TOPIC, subscription="billing").counts == {"completed": 4}


def test_a_topic_without_subscriptions_has_a_default_one(service: InMemoryService):
    service.client().prepare("orders.cancelled", 1, confirmed=True)
    assert service.drain(_nothing, topic="orders.cancelled").counts == {"completed": 1}


def test_nothing_is_due_of_a_topic_that_is_not_there(service: InMemoryService):
    assert service.drain(_nothing, topic="orders.cancelled").counts == {}


def test_a_subscription_that_is_not_there_is_a_mistake(service: InMemoryService):
    with pytest.raises(ValueError, match="There is no subscription 'biling'"):
        service.drain(_nothing, topic=TOPIC, subscription="biling")


def test_what_can_receive_nothing_is_refused(service: InMemoryService):
    with pytest.raises(TypeError, match="can receive nothing"):
        service.drain(42)  # type: ignore[arg-type]


async def test_coroutine_functions_are_drained_on_the_tests_loop(published: InMemoryService):
    loops = set()

    async def handle(message: PulledMessage) -> None:
        await asyncio.sleep(0)
        loops.add(asyncio.get_running_loop())

    assert (await published.drain_async(handle)).counts == {"completed": 3}
    assert loops == {asyncio.get_running_loop()}


def test_coroutine_functions_are_drained_without_a_loop_too(published: InMemoryService):
    async def handle(message: PulledMessage) -> None:
        await asyncio.sleep(0)

    assert published.drain(handle).counts == {"completed": 3}


def test_a_whole_consumer_reports_by_itself(published: InMemoryService):
    class Consumer:
        subscriptions = ((TOPIC, "billing"),)
        client = published.client(app="billing")

        def receive(self, delivery: Delivery, subscription: str, /) -> Receipt:
            if delivery.key == "0":
                return Receipt.RETRY_LATER
            self.client.complete(delivery.id, subscription)
            return Receipt.COMPLETED

    assert published.drain(Consumer()).counts == {"retry_later": 1, "completed": 2}
    assert published.statuses() == {"sent": 1, "completed": 2}
    with pytest.raises(TypeError, match="knows its own subscriptions"):
        published.drain(Consumer(), topic=TOPIC)


async def test_a_whole_async_consumer_is_awaited(published: InMemoryService):
    client = published.async_client(app="billing")

    class Consumer:
        subscriptions = ((TOPIC, "billing"), ("orders.cancelled", "billing"))

        async def receive(self, delivery: Delivery, subscription: str, /) -> Receipt:
            await client.complete(delivery.id, subscription)
            return Receipt.COMPLETED

    assert (await published.drain_async(Consumer())).counts == {"completed": 3}
    published.assert_settled()


def test_a_handler_that_returns_a_receipt_has_reported_by_itself(published: InMemoryService):
    assert published.drain(lambda message: Receipt.DUPLICATE).counts == {"duplicate": 3}
    assert published.statuses() == {"sent": 3}


def test_a_report_that_is_refused_is_final(service: InMemoryService):
    client = service.client()
    message = client.prepare(TOPIC, 1, confirmed=True)

    def discarded_meanwhile(pulled: PulledMessage) -> None:
        client.discard(pulled.id, "not wanted")

    drained = service.drain(discarded_meanwhile)

    assert drained.errors[0][0] == message.id
    assert "is failed: complete is refused" in str(drained.errors[0][1])
    service.assert_settled()


def test_a_lost_report_is_made_with_the_next_delivery(service: InMemoryService):
    service.client().prepare(TOPIC, 1, confirmed=True)
    with service.unreachable():
        assert service.drain(_nothing).counts == {"completed": 1}
    assert service.statuses() == {"sent": 1}

    service.advance(60)
    service.drain(_nothing)

    service.assert_settled()


@pytest.mark.parametrize(
    ("point", "worked", "reported"),
    [
        (Point.BEFORE_WORK, 0, False),
        (Point.AFTER_WORK, 1, False),
        (Point.BEFORE_REPORT, 1, False),
        (Point.AFTER_REPORT, 1, True),
    ],
)
def test_a_consumer_can_crash_at_each_point(service: InMemoryService, point: Point, worked: int, reported: bool):
    service.client().prepare(TOPIC, 1, confirmed=True)
    seen: list[str] = []

    with service.crash_at(point) as crash:
        service.drain(lambda message: seen.append(message.id))

    assert crash.happened
    assert len(seen) == worked
    assert service.statuses() == {"completed" if reported else "sent": 1}
    service.advance(60)
    service.drain(lambda message: None)
    service.assert_settled()


def _nothing(_message: object) -> None:
    return None
