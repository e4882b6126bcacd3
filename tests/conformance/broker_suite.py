"""What every broker must do. A back end passes it with a small subclass that yields an open broker.

`BrokerSuite` is for all of them. `PullBrokerSuite` adds what a store-backed broker owes to consumers that wait; a
broker with queues of its own adds a suite that consumes what was published.
"""

import asyncio

from aftercommit.domain.message import Content, PayloadForm
from aftercommit.ports.broker import Accepted, Broker, Outgoing, PullBroker, Unavailable
from tests.builders import message_id


def outgoing(number: int, *, attempt: int = 1, payload: bytes = b'{"order":42}') -> Outgoing:
    """A message on its way out."""
    content = Content(
        content_type="application/json", form=PayloadForm.JSON, payload=payload, fingerprint=bytes(32), key="42"
    )
    return Outgoing(id=message_id(number), topic="orders.created", app="orders", attempt=attempt, content=content)


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
