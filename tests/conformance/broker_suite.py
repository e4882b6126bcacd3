"""What every broker must do. A back end passes it with a small subclass that yields an open broker.

`BrokerSuite` is for all of them. `PullBrokerSuite` adds what a store-backed broker owes to consumers that wait; a
broker with queues of its own adds a suite that consumes what was published.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aftercommit.domain.message import Content, PayloadForm
from aftercommit.ports.broker import Accepted, Broker, Outgoing, PullBroker, Refused, Route, Unavailable
from tests.builders import message_id

TOPIC = "orders.created"


def outgoing(
    number: int,
    *,
    attempt: int = 1,
    payload: bytes = b'{"order":42}',
    topic: str = TOPIC,
    subscriptions: tuple[str, ...] | None = None,
    **content: Any,
) -> Outgoing:
    """A message on its way out."""
    described: dict[str, Any] = {"content_type": "application/json", "key": "42", **content}
    return Outgoing(
        id=message_id(number),
        topic=topic,
        app="orders",
        attempt=attempt,
        content=Content(form=PayloadForm.JSON, payload=payload, fingerprint=bytes(32), **described),
        subscriptions=subscriptions,
    )


@dataclass(frozen=True)
class Received:
    """What a consumer of an outside broker gets."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["aftercommit-id"]


class Receive(Protocol):
    """Reads as a subscription does with the broker's plain client: `count` messages, or (None) all there are."""

    def __call__(self, topic: str, subscription: str, count: int | None = None) -> Awaitable[list[Received]]: ...


class BrokerSuite:
    """For every broker. The subclass gives the fixture `broker`: open, closed again after the test."""

    async def test_every_message_of_a_batch_has_an_answer_of_its_own(self, broker: Broker) -> None:
        answers = await broker.publish([outgoing(number) for number in range(10)])
        assert answers == [Accepted()] * 10

    async def test_an_empty_batch_has_no_answers(self, broker: Broker) -> None:
        assert await broker.publish([]) == []

    async def test_a_whole_window_is_taken_at_once(self, broker: Broker) -> None:
        window = broker.capabilities.window_max
        assert window >= 1
        assert len(await broker.publish([outgoing(number) for number in range(window)])) == window

    async def test_the_same_message_may_be_published_again(self, broker: Broker) -> None:
        first = await broker.publish([outgoing(1)])
        second = await broker.publish([outgoing(1, attempt=2)])
        assert (first, second) == ([Accepted()], [Accepted()])

    async def test_concurrent_batches_do_not_mix_their_answers(self, broker: Broker) -> None:
        sizes = range(1, 20)
        answers = await asyncio.gather(*(broker.publish([outgoing(n) for n in range(size)]) for size in sizes))
        assert [len(each) for each in answers] == list(sizes)

    async def test_a_payload_of_any_bytes_is_taken(self, broker: Broker) -> None:
        assert await broker.publish([outgoing(1, payload=bytes(range(256)))]) == [Accepted()]

    async def test_a_closed_broker_is_unavailable_and_says_nothing_about_the_message(self, broker: Broker) -> None:
        await broker.close()
        answers = await broker.publish([outgoing(1), outgoing(2)])
        assert [type(each) for each in answers] == [Unavailable, Unavailable]

    async def test_closing_twice_is_safe(self, broker: Broker) -> None:
        await broker.close()
        await broker.close()

    async def test_capabilities_do_not_change(self, broker: Broker) -> None:
        before = broker.capabilities
        await broker.publish([outgoing(1)])
        assert broker.capabilities == before


class PullBrokerSuite(BrokerSuite):
    """For a broker whose queue is the store: consumers wait at it."""

    async def test_it_says_that_the_store_is_its_queue(self, broker: PullBroker) -> None:
        assert broker.capabilities.store_backed

    async def test_an_announcement_wakes_one_consumer_of_that_subscription(self, broker: PullBroker) -> None:
        first, second, other = broker.waiter(1), broker.waiter(1), broker.waiter(2)
        broker.announce([1])
        assert [first.is_set(), second.is_set(), other.is_set()] == [True, False, False]

    async def test_two_deliveries_wake_two(self, broker: PullBroker) -> None:
        waiters = [broker.waiter(1) for _ in range(3)]
        broker.announce([1, 1])
        assert sum(each.is_set() for each in waiters) == 2

    async def test_nobody_is_woken_twice_for_one_delivery_each(self, broker: PullBroker) -> None:
        waiters = [broker.waiter(1) for _ in range(2)]
        broker.announce([1])
        broker.announce([1])
        assert all(each.is_set() for each in waiters)

    async def test_everybody_who_waits_for_a_subscription_can_be_woken(self, broker: PullBroker) -> None:
        waiters, other = [broker.waiter(1) for _ in range(3)], broker.waiter(2)
        broker.announce_all(1)
        assert all(each.is_set() for each in waiters)
        assert not other.is_set()

    async def test_a_wake_that_its_consumer_leaves_behind_goes_to_the_next(self, broker: PullBroker) -> None:
        leaving, staying = broker.waiter(1), broker.waiter(1)
        broker.announce([1])
        broker.leave(1, leaving)
        assert staying.is_set()

    async def test_leaving_without_a_wake_wakes_nobody(self, broker: PullBroker) -> None:
        leaving, staying = broker.waiter(1), broker.waiter(1)
        broker.leave(1, leaving)
        assert not staying.is_set()

    async def test_an_announcement_nobody_waits_for_is_not_kept(self, broker: PullBroker) -> None:
        # The store has the delivery: whoever comes looks there first.
        broker.announce([1])
        assert not broker.waiter(1).is_set()

    async def test_leaving_twice_or_from_nowhere_is_ignored(self, broker: PullBroker) -> None:
        waiter = broker.waiter(1)
        broker.leave(1, waiter)
        broker.leave(1, waiter)
        broker.leave(7, asyncio.Event())

    async def test_closing_wakes_everybody(self, broker: PullBroker) -> None:
        waiters = [broker.waiter(number) for number in range(3)]
        await broker.close()
        assert all(each.is_set() for each in waiters)


class QueueBrokerSuite(BrokerSuite):
    """For a broker with queues of its own. The subclass also gives `receive`, `topic` (a new one) and `bytes_max`."""

    async def test_it_says_that_the_store_is_not_its_queue(self, broker: Broker) -> None:
        assert not broker.capabilities.store_backed
        assert broker.trouble is None

    async def test_a_message_arrives_byte_for_byte_with_everything_said_about_it(
        self, broker: Broker, topic: str, receive: Receive
    ) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing",)))
        payload = bytes(range(256))
        traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        sent = outgoing(
            1,
            attempt=3,
            payload=payload,
            topic=topic,
            subscriptions=("billing",),
            key="Ključ 42",
            content_type="application/octet-stream",
            headers=(("Tenant", "Zoë"), ("x-empty", "")),
            traceparent=traceparent,
        )
        assert await broker.publish([sent]) == [Accepted()]
        [received] = await receive(topic, "billing", 1)
        assert received.body == payload
        assert received.headers == {
            "aftercommit-id": sent.id,
            "aftercommit-topic": topic,
            "aftercommit-attempt": "3",
            "aftercommit-key": "Ključ 42",
            "aftercommit-app": "orders",
            "aftercommit-for": "billing",
            "content-type": "application/octet-stream",
            "traceparent": traceparent,
            "Tenant": "Zoë",
            "x-empty": "",
        }

    async def test_what_a_message_does_not_have_is_left_out(self, broker: Broker, topic: str, receive: Receive) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing",)))
        await broker.publish([outgoing(1, topic=topic, key=None)])
        [received] = await receive(topic, "billing", 1)
        assert not {"aftercommit-key", "aftercommit-for", "traceparent"} & set(received.headers)

    async def test_an_initiators_header_does_not_replace_ours(
        self, broker: Broker, topic: str, receive: Receive
    ) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing",)))
        await broker.publish([outgoing(1, topic=topic, headers=(("Content-Type", "text/plain"),))])
        [received] = await receive(topic, "billing", 1)
        assert received.headers["content-type"] == "application/json"
        assert "Content-Type" not in received.headers

    async def test_every_subscription_gets_every_message_of_a_window(
        self, broker: Broker, topic: str, receive: Receive
    ) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing", "shipping")))
        window = [outgoing(number, topic=topic) for number in range(broker.capabilities.window_max)]
        assert await broker.publish(window) == [Accepted()] * len(window)
        for subscription in ("billing", "shipping"):
            received = await receive(topic, subscription, len(window))
            assert {each.id for each in received} == {each.id for each in window}

    async def test_what_nobody_has_read_yet_is_kept(self, broker: Broker, topic: str, receive: Receive) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing", "shipping")))
        await broker.publish([outgoing(1, topic=topic)])
        assert len(await receive(topic, "billing", 1)) == 1
        await broker.publish([outgoing(2, topic=topic)])
        assert len(await receive(topic, "shipping", 2)) == 2

    async def test_another_attempt_is_delivered_whatever_came_before(
        self, broker: Broker, topic: str, receive: Receive
    ) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing",)))
        for attempt in (1, 2):
            await broker.publish([outgoing(1, topic=topic, attempt=attempt)])
        received = await receive(topic, "billing", 2)
        assert [each.headers["aftercommit-attempt"] for each in received] == ["1", "2"]

    async def test_an_attempt_that_was_answered_before_is_delivered_again(
        self, broker: Broker, topic: str, receive: Receive
    ) -> None:
        # The numbers of attempts begin anew when an operator redelivers what was given up.
        broker.declare(Route(topic=topic, subscriptions=("billing",)))
        for _ in range(3):
            assert await broker.publish([outgoing(1, topic=topic)]) == [Accepted()]
        assert len(await receive(topic, "billing", 3)) == 3

    async def test_a_message_is_never_lost_for_want_of_a_declaration_of_whom_it_is_aimed_at(
        self, broker: Broker, topic: str, receive: Receive
    ) -> None:
        await broker.publish([outgoing(1, topic=topic, subscriptions=("billing", "shipping"))])
        for subscription in ("billing", "shipping"):
            [received] = await receive(topic, subscription, 1)
            assert received.headers["aftercommit-for"] == "billing,shipping"

    async def test_a_message_too_large_is_refused_for_good_and_the_others_pass(
        self, broker: Broker, topic: str, bytes_max: int, receive: Receive
    ) -> None:
        broker.declare(Route(topic=topic, subscriptions=("billing",)))
        sizes = (10, bytes_max, bytes_max + 1, 10)
        batch = [outgoing(number, topic=topic, payload=bytes(size)) for number, size in enumerate(sizes)]
        answers = await broker.publish(batch)
        assert [type(each) for each in answers] == [Accepted, Refused, Refused, Accepted]
        assert all(each.final for each in answers if isinstance(each, Refused))
        assert {each.id for each in await receive(topic, "billing", 2)} == {batch[0].id, batch[3].id}

    async def test_a_header_of_two_lines_is_refused_for_good(self, broker: Broker, topic: str) -> None:
        injected = outgoing(1, topic=topic, headers=(("tenant", "7\r\naftercommit-id: 8"),))
        [refused] = await broker.publish([injected])
        assert isinstance(refused, Refused)
        assert refused.final
