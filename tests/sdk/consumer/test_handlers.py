"""What can be a handler, and which one a delivery is for."""

import pytest

from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.handlers import NoHandler
from aftercommit.sdk.consumer.receipts import Receipt
from tests.sdk.consumer.pulled import AwaitedService, delivery


@pytest.fixture
def consumer(service, connect) -> Consumer:
    """A consumer with a database."""
    return Consumer(service, connect)


def test_a_handler_stays_the_function_it_was(consumer):
    def reserve(delivery, tx): ...

    assert consumer.on("orders.created", subscription="stock")(reserve) is reserve
    consumer.on("orders.created", "billing")(lambda delivery, tx: None)
    consumer.on("orders.cancelled")(lambda delivery, tx: None)
    assert consumer.subscriptions == [
        ("orders.created", "stock"),
        ("orders.created", "billing"),
        ("orders.cancelled", "default"),
    ]


def test_a_second_handler_for_the_same_is_refused(consumer):
    consumer.on("orders.created", "stock")(lambda delivery, tx: None)
    with pytest.raises(ValueError, match=r"handles 'orders.created' for 'stock' already"):
        consumer.on("orders.created", "stock")(lambda delivery, tx: None)


def without_arguments(): ...
def with_delivery(delivery): ...
def with_three(delivery, tx, more): ...
async def awaited(delivery, tx): ...
async def awaited_without(delivery): ...


class AwaitedCall:
    async def __call__(self, delivery, tx): ...


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (without_arguments, r"without_arguments must take \(delivery, tx\), because this consumer has a database"),
        (with_delivery, r"must take \(delivery, tx\).*it takes \(delivery\)"),
        (with_three, r"must take \(delivery, tx\)"),
        (awaited, r"awaited is a coroutine function; write `def`, or use AsyncConsumer"),
        (AwaitedCall(), r"is a coroutine function"),
        (42, r"42 cannot handle anything"),
    ],
)
def test_what_cannot_be_a_handler_is_told_at_once(consumer, function, complaint):
    with pytest.raises(TypeError, match=complaint):
        consumer.on("orders.created")(function)
    assert consumer.subscriptions == []


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (with_delivery, "plain function, which would hold up the whole loop; write `async def`"),
        (awaited, r"must take \(delivery\), because this consumer has no database"),
    ],
)
def test_what_cannot_be_a_handler_of_an_async_consumer_is_told_at_once(service, function, complaint):
    with pytest.raises(TypeError, match=complaint):
        AsyncConsumer(AwaitedService(service)).on("orders.created")(function)


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"timeout_seconds": 0}, {"timeout_seconds": -1.0}])
def test_a_limit_that_would_never_handle_anything_is_refused(consumer, limits):
    with pytest.raises(ValueError, match=r"at least 1|over 0"):
        consumer.on("orders.created", **limits)(lambda delivery, tx: None)


def test_a_topic_or_subscription_without_a_name_is_refused(consumer):
    with pytest.raises(ValueError, match="needs the name"):
        consumer.on("orders.created", "")(lambda delivery, tx: None)


@pytest.fixture
def shop(service) -> tuple[Consumer, list[str]]:
    """A consumer of two topics, and who was called."""
    consumer, called = Consumer(service), list[str]()
    for topic, name in (("orders.created", "stock"), ("orders.created", "billing"), ("orders.cancelled", "stock")):
        consumer.on(topic, name)(lambda delivery, each=f"{topic} {name}": called.append(each))
    return consumer, called


@pytest.mark.parametrize(
    ("given", "subscription", "called"),
    [
        (delivery(), "billing", "orders.created billing"),
        (delivery(topic="orders.cancelled"), "stock", "orders.cancelled stock"),
        (delivery(topic="orders.cancelled"), None, "orders.cancelled stock"),
        (delivery(meant_for=("billing",)), None, "orders.created billing"),
        (delivery(meant_for=("billing", "mails")), None, "orders.created billing"),
    ],
)
def test_a_delivery_finds_its_handler(shop, given, subscription, called):
    consumer, calls = shop
    assert consumer.receive(given, subscription) is Receipt.COMPLETED
    assert calls == [called]


@pytest.mark.parametrize(
    ("given", "subscription"),
    [
        (delivery(meant_for=("mails",)), None),
        (delivery(meant_for=("billing",)), "stock"),
        (delivery(topic="orders.cancelled", meant_for=("billing",)), None),
    ],
)
def test_a_redelivery_for_others_is_not_handled(shop, service, given, subscription):
    consumer, calls = shop
    assert consumer.receive(given, subscription) is Receipt.NOT_MEANT
    assert (calls, service.told) == ([], [])


@pytest.mark.parametrize(
    ("given", "subscription", "complaint"),
    [
        (delivery(topic="orders.lost"), None, "Nothing here handles 'orders.lost' .it handles 'orders.created' for"),
        (delivery(topic="orders.lost"), "stock", "Nothing here handles 'orders.lost' for 'stock'"),
        (delivery(), "mails", "Nothing here handles 'orders.created' for 'mails'"),
        (delivery(), None, "could be for stock, billing: say for which subscription"),
        (delivery(meant_for=("billing", "stock")), None, "could be for stock, billing"),
    ],
)
def test_what_no_handler_takes_is_an_error_and_not_reported(shop, service, given, subscription, complaint):
    consumer, calls = shop
    with pytest.raises(NoHandler, match=complaint):
        consumer.receive(given, subscription)
    assert (calls, service.told) == ([], [])
