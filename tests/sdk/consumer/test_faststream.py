"""The middleware for FastStream in FastStream's own test broker: what reaches a handler, and what is refused."""

import warnings
from contextlib import suppress
from typing import Annotated, Any

import pytest
from faststream import AckPolicy, BaseMiddleware, Context
from faststream.confluent import KafkaBroker
from faststream.exceptions import AckMessage, StopConsume
from faststream.nats import AckPolicy as NatsAckPolicy
from faststream.nats import ConsumerConfig, NatsBroker
from faststream.rabbit import RabbitBroker, RabbitMessage, RabbitRouter, TestRabbitBroker
from faststream.redis import RedisBroker, StreamSub, TestRedisBroker
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aftercommit.sdk.consumer.faststream import InboxMiddleware, LossySubscriber, Received, Tx, require_safe
from aftercommit.sdk.consumer.inbox import AsyncInbox, Inbox
from aftercommit.sdk.consumer.receipts import Fail, RetryLater
from tests.sdk.consumer.pulled import TOPIC, AwaitedService

HEADERS: dict[str, Any] = {
    "aftercommit-id": "m1",
    "aftercommit-topic": TOPIC,
    "aftercommit-attempt": "1",
    "tenant": "a",
}
ORDER: Any = {"order": 1}
MaybeTx = Annotated[Any, Context("aftercommit_transaction", default=None)]


@pytest.fixture
async def inbox(service, path):
    """The inbox of `stock` over the file."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    yield AsyncInbox(AwaitedService(service), engine, subscription="stock")
    await engine.dispose()


@pytest.fixture
def broker(inbox) -> RabbitBroker:
    """A broker whose subscribers lose nothing."""
    return RabbitBroker(middlewares=[InboxMiddleware(inbox)], ack_policy=AckPolicy.NACK_ON_ERROR)


async def insert(tx: Any) -> None:
    await tx.session.execute(text("INSERT INTO orders VALUES (1)"))


async def test_an_ordinary_handler_gets_payload_transaction_and_delivery(broker, service, orders):
    seen: list[Any] = []

    @broker.subscriber("stock")
    async def reserve(order: dict[str, int], tx: Tx, delivery: Received, message: RabbitMessage) -> None:
        await insert(tx)
        seen.append((order, delivery.id, delivery.headers["tenant"], message.committed))

    async with TestRabbitBroker(broker):
        for _ in range(2):
            await broker.publish(ORDER, "stock", headers=HEADERS)
    assert seen == [(ORDER, "m1", "a", None)]
    assert orders() == [1]
    assert service.verbs == ["complete", "complete"]


@pytest.mark.parametrize("policy", [AckPolicy.NACK_ON_ERROR, AckPolicy.MANUAL, AckPolicy.ACK])
@pytest.mark.parametrize(
    ("said", "verbs"),
    [(None, ["complete"]), (Fail("no"), ["fail"]), (RetryLater("later"), []), (KeyError("a bug"), [])],
    ids=["completed", "fail", "later", "bug"],
)
async def test_every_copy_is_acknowledged_after_its_outcome_was_settled(inbox, service, orders, policy, said, verbs):
    acknowledged: list[list[str]] = []
    broker = RabbitBroker(middlewares=[Watching(acknowledged, service), InboxMiddleware(inbox)])

    @broker.subscriber("stock", ack_policy=policy)
    async def reserve(tx: Tx) -> None:
        await insert(tx)
        if said is not None:
            raise said

    async with TestRabbitBroker(broker):
        # Without FastStream's own acknowledgements nobody but `consume`, which tests go around, takes its signal.
        with suppress(AckMessage):
            await broker.publish(ORDER, "stock", headers=HEADERS)
    # Where FastStream acknowledges too, it comes later.
    assert acknowledged[0] == verbs
    assert orders() == ([1] if said is None else [])


class Watching:
    """A middleware around ours that writes down what had been reported when the copy was acknowledged."""

    def __init__(self, acknowledged: list[list[str]], service: Any) -> None:
        self._acknowledged = acknowledged
        self._service = service

    def __call__(self, msg: Any, /, *, context: Any) -> Any:
        acknowledged, service = self._acknowledged, self._service

        class Watch(BaseMiddleware[Any, Any]):
            async def consume_scope(self, call_next: Any, msg: Any) -> Any:
                plain = msg.ack

                async def ack() -> None:
                    acknowledged.append(list(service.verbs))
                    await plain()

                msg.ack = ack
                return await call_next(msg)

        return Watch(msg, context=context)


async def test_a_returned_refusal_is_a_refusal(broker, service, orders):
    @broker.subscriber("stock")
    async def reserve(tx: Tx) -> Fail:
        await insert(tx)
        return Fail("no such item")

    async with TestRabbitBroker(broker):
        await broker.publish(ORDER, "stock", headers=HEADERS)
    assert (service.verbs, orders()) == (["fail"], [])


async def test_other_messages_pass_untouched(broker, service):
    seen: list[Any] = []

    @broker.subscriber("stock")
    async def reserve(order: dict[str, int], tx: MaybeTx) -> str:
        seen.append((order, tx))
        return "reply"

    async with TestRabbitBroker(broker):
        await broker.publish(ORDER, "stock", headers={"tenant": "a"})
    assert seen == [(ORDER, None)]
    assert service.told == []


async def test_a_lossy_subscriber_may_get_other_messages_but_none_of_ours(inbox, service):
    broker = RabbitBroker(middlewares=[InboxMiddleware(inbox)])
    seen: list[Any] = []

    @broker.subscriber("stock")
    async def reserve(order: dict[str, int]) -> None:
        seen.append(order)

    async with TestRabbitBroker(broker):
        await broker.publish(ORDER, "stock")
        with pytest.raises(LossySubscriber, match=r"REJECT_ON_ERROR, the default.*ack_policy=AckPolicy.NACK_ON_ERROR"):
            await broker.publish(ORDER, "stock", headers=HEADERS)
    assert seen == [ORDER]
    assert service.told == []


async def test_a_redelivery_for_others_does_not_reach_the_handler(broker, service):
    seen: list[Any] = []
    broker.subscriber("stock")(seen.append)

    async with TestRabbitBroker(broker):
        await broker.publish(ORDER, "stock", headers={**HEADERS, "aftercommit-for": "billing"})
    assert (seen, service.told) == ([], [])


async def test_what_is_published_by_decorator_follows_completed_work_only(broker):
    replies: list[Any] = []

    @broker.subscriber("stock")
    @broker.publisher("reserved")
    async def reserve(order: dict[str, Any]) -> str:
        if order.get("refuse"):
            raise Fail("no")
        return "reserved"

    @broker.subscriber("reserved")
    async def reply(said: str) -> None:
        replies.append(said)

    async with TestRabbitBroker(broker):
        for _ in range(2):
            await broker.publish(ORDER, "stock", headers=HEADERS)
        await broker.publish({"refuse": True}, "stock", headers={**HEADERS, "aftercommit-id": "m2"})
    assert replies == ["reserved"]


async def test_a_handler_may_stop_its_subscriber_and_its_work_is_undone(broker, service, orders):
    @broker.subscriber("stock")
    async def reserve(tx: Tx) -> None:
        await insert(tx)
        raise StopConsume

    async with TestRabbitBroker(broker):
        with pytest.raises(StopConsume):
            await broker.publish(ORDER, "stock", headers=HEADERS)
    assert (service.verbs, orders()) == ([], [])


async def test_messages_published_with_the_transaction_are_the_services(broker, service):
    @broker.subscriber("stock")
    async def reserve(tx: Tx) -> None:
        tx.publish("stock.reserved", ORDER)

    async with TestRabbitBroker(broker):
        await broker.publish(ORDER, "stock", headers=HEADERS)
    assert service.verbs == ["prepare", "confirm", "complete"]


async def test_a_router_may_have_an_inbox_of_its_own(service, inbox):
    broker, called = RabbitBroker(), list[str]()
    stock = RabbitRouter(middlewares=[InboxMiddleware(inbox)], ack_policy=AckPolicy.NACK_ON_ERROR)
    billing = RabbitRouter(
        middlewares=[InboxMiddleware(AsyncInbox(AwaitedService(service), subscription="billing"))],
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )

    @stock.subscriber("stock")
    async def reserve(tx: Tx) -> None:
        called.append(f"stock {tx is not None}")

    @billing.subscriber("billing")
    async def bill(tx: MaybeTx) -> None:
        called.append(f"billing {tx is not None}")

    broker.include_routers(stock, billing)
    require_safe(*broker.subscribers)

    async with TestRabbitBroker(broker):
        for queue in ("stock", "billing"):
            await broker.publish({}, queue, headers={**HEADERS, "aftercommit-for": queue})
    assert called == ["stock True", "billing False"]


async def test_what_the_service_lays_into_a_redis_stream_is_read(inbox, service):
    broker = RedisBroker(middlewares=[InboxMiddleware(inbox)], ack_policy=AckPolicy.NACK_ON_ERROR)
    seen: list[Any] = []

    @broker.subscriber(stream=StreamSub("aftercommit:orders", group="stock", consumer="one"))
    async def reserve(order: dict[str, Any], delivery: Received) -> None:
        seen.append((order, delivery.key, delivery.headers, delivery.content_type))

    fields = {**HEADERS, "aftercommit-key": "caf\u00e9", "content-type": "application/json"}
    entry = {name.encode(): value.encode() for name, value in fields.items()}
    async with TestRedisBroker(broker):
        [subscriber] = broker.subscribers
        raw: Any = {
            "type": "stream",
            "channel": "c",
            "message_ids": [b"1-0"],
            "data": {**entry, b"body": b'{"order": 1}'},
        }
        await subscriber.process_message(raw)
    assert seen == [(ORDER, "caf\u00e9", {"tenant": "a"}, "application/json")]
    assert service.verbs == ["complete"]


async def test_a_batch_is_refused(inbox):
    broker = RedisBroker(middlewares=[InboxMiddleware(inbox)], ack_policy=AckPolicy.NACK_ON_ERROR)
    stream = StreamSub("s", group="g", consumer="one", batch=True)

    @broker.subscriber(stream=stream)
    async def reserve(order: list[Any]) -> None: ...

    from faststream.redis import BinaryMessageFormatV1

    packed = await BinaryMessageFormatV1.encode(message=ORDER, reply_to=None, headers=HEADERS, correlation_id="1")
    async with TestRedisBroker(broker):
        [subscriber] = broker.subscribers
        raw: Any = {"type": "bstream", "channel": "c", "message_ids": [b"1-0"], "data": [{b"__data__": packed}]}
        with pytest.raises(LossySubscriber, match="one acknowledgement for many"):
            await subscriber.process_message(raw)


def test_only_an_inbox_for_asyncio_can_be_used(service):
    with pytest.raises(TypeError, match="needs an AsyncInbox, not Inbox"):
        InboxMiddleware(Inbox(service))  # type: ignore[arg-type]


def group(**options: Any) -> StreamSub[Any]:
    return StreamSub("s", group="g", consumer="one", **options)


NACK = AckPolicy.NACK_ON_ERROR
NONE = ConsumerConfig(ack_policy=NatsAckPolicy.NONE)
LOSSY = [
    (RabbitBroker, ("q",), {}, "REJECT_ON_ERROR"),
    (RabbitBroker, ("q",), {"ack_policy": AckPolicy.ACK_FIRST}, "ACK_FIRST"),
    (RedisBroker, ("c",), {}, "a channel or a list, which keep nothing"),
    (RedisBroker, (), {"list": "l"}, "a channel or a list, which keep nothing"),
    (RedisBroker, (), {"stream": "s"}, "without a group"),
    (RedisBroker, (), {"stream": group(no_ack=True)}, "no_ack=True"),
    (RedisBroker, (), {"stream": group()}, "REJECT_ON_ERROR"),
    (NatsBroker, ("s",), {}, "without JetStream"),
    (NatsBroker, ("s",), {"stream": "S"}, "REJECT_ON_ERROR"),
    (NatsBroker, ("s",), {"stream": "S", "ack_policy": AckPolicy.ACK_FIRST}, "ACK_FIRST"),
    (NatsBroker, ("s",), {"stream": "S", "ack_policy": NACK, "config": NONE}, "ack_policy none"),
    (KafkaBroker, ("t",), {}, "ACK_FIRST"),
    (KafkaBroker, ("t",), {"group_id": "g", "ack_policy": AckPolicy.REJECT_ON_ERROR}, "REJECT_ON_ERROR"),
]


@pytest.mark.parametrize(("kind", "places", "options", "complaint"), LOSSY)
def test_options_that_lose_messages_are_named(kind, places, options, complaint):
    with warnings.catch_warnings():
        # FastStream warns of some of these itself.
        warnings.simplefilter("ignore")
        subscriber = kind().subscriber(*places, **options)
    with pytest.raises(LossySubscriber, match=complaint):
        require_safe(subscriber)


@pytest.mark.parametrize("policy", [AckPolicy.NACK_ON_ERROR, AckPolicy.MANUAL, AckPolicy.ACK])
@pytest.mark.parametrize(
    ("kind", "places", "options"),
    [
        (RabbitBroker, ("q",), {}),
        (RedisBroker, (), {"stream": group()}),
        (NatsBroker, ("s",), {"stream": "S"}),
        (KafkaBroker, ("t",), {"group_id": "g"}),
    ],
)
def test_options_that_lose_nothing_pass(kind, places, options, policy):
    require_safe(kind().subscriber(*places, **options, ack_policy=policy))


def test_a_kafka_consumer_that_commits_by_itself_is_found_once_it_has_started():
    subscriber = KafkaBroker().subscriber("t", group_id="g", ack_policy=NACK)
    subscriber.consumer = Configured()  # type: ignore[assignment]  # as `start` leaves it
    with pytest.raises(LossySubscriber, match=r"commits by itself \(enable.auto.commit\)"):
        require_safe(subscriber)


class Configured:
    config = {"enable.auto.commit": "true"}  # noqa: RUF012 - nobody changes it
