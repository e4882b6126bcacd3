"""What the service sets up in JetStream, and what becomes of messages when somebody else changes it."""

import pytest
from nats.js import JetStreamContext, api

from aftercommit.brokers.nats_topology import STREAM, TRUST_SECONDS, Misplaced, Topology
from aftercommit.ports.broker import Accepted, Answer, Outgoing, Refused, Route, Unavailable
from aftercommit.testing.clock import ManualClock
from tests.brokers.jetstream import has_consumer, jetstream, ready_broker, receive, until_consumer, until_empty
from tests.conformance.broker_suite import TOPIC, outgoing
from tests.servers.nats import Nats

ROUTE = Route(topic=TOPIC, subscriptions=("billing",))
CONSUMER = "orders_created__billing"


async def answer(server: Nats, message: Outgoing) -> Answer:
    """What a broker that knows the route answers to one message."""
    async with ready_broker(server.url) as broker:
        broker.declare(ROUTE)
        [only] = await broker.publish([message])
        return only


async def stream_of(context: JetStreamContext, **config: object) -> None:
    """A stream made by somebody else."""
    await context.add_stream(api.StreamConfig(**{"name": STREAM, "subjects": ["aftercommit.>"], **config}))  # type: ignore[arg-type]


async def test_the_stream_keeps_everything_until_it_is_acknowledged_and_drops_nothing(own_nats: Nats) -> None:
    assert await answer(own_nats, outgoing(1)) == Accepted()
    async with jetstream(own_nats.url) as context:
        info = await context.stream_info(STREAM)
        assert info.state.messages == 1
        config = info.config
        assert (config.subjects, config.storage) == (["aftercommit.>"], api.StorageType.FILE)
        assert (config.retention, config.discard) == (api.RetentionPolicy.INTEREST, api.DiscardPolicy.NEW)
        assert (config.max_age, config.max_msgs, config.max_bytes) == (0, -1, -1)
        await receive(own_nats.url, TOPIC, "billing", 1)
        await until_empty(context)


async def test_a_consumer_is_durable_explicit_and_reads_one_subject(own_nats: Nats) -> None:
    await answer(own_nats, outgoing(1))
    async with jetstream(own_nats.url) as context:
        config = (await context.consumer_info(STREAM, CONSUMER)).config
    assert (config.durable_name, config.filter_subject) == (CONSUMER, "aftercommit.orders.created")
    assert (config.ack_policy, config.max_deliver) == (api.AckPolicy.EXPLICIT, -1)
    assert config.deliver_subject is None


async def test_a_stream_that_is_there_is_used_as_it_is(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context:
        await stream_of(context, max_age=3600.0, storage=api.StorageType.MEMORY)
        assert await answer(own_nats, outgoing(1)) == Accepted()
        config = (await context.stream_info(STREAM)).config
    assert (config.max_age, config.storage) == (3600.0, api.StorageType.MEMORY)


async def test_a_consumer_that_is_there_keeps_its_settings(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context:
        await stream_of(context)
        config = api.ConsumerConfig(durable_name=CONSUMER, filter_subject="aftercommit.orders.created", ack_wait=7.0)
        await context.add_consumer(STREAM, config)
        assert await answer(own_nats, outgoing(1)) == Accepted()
        assert (await context.consumer_info(STREAM, CONSUMER)).config.ack_wait == 7.0


async def test_a_full_stream_is_unavailable_until_there_is_room(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context:
        await stream_of(context, max_msgs=2, discard=api.DiscardPolicy.NEW)
        async with ready_broker(own_nats.url) as broker:
            broker.declare(ROUTE)
            answers = await broker.publish([outgoing(number) for number in range(4)])
            assert [type(each) for each in answers] == [Accepted, Accepted, Unavailable, Unavailable]
            assert "maximum messages exceeded" in str(answers[3])
            await context.purge_stream(STREAM)
            assert await broker.publish([outgoing(3)]) == [Accepted()]


async def test_a_message_larger_than_the_stream_takes_is_refused_for_good(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context:
        await stream_of(context, max_msg_size=2000)
    async with ready_broker(own_nats.url) as broker:
        broker.declare(ROUTE)
        answers = await broker.publish([outgoing(1), outgoing(2, payload=bytes(3000)), outgoing(3)])
    assert [type(each) for each in answers] == [Accepted, Refused, Accepted]
    assert isinstance(answers[1], Refused)
    assert answers[1].final


async def test_somebody_elses_stream_on_our_subjects_is_named_and_gets_nothing(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context:
        await context.add_stream(api.StreamConfig(name="OTHER", subjects=["aftercommit.orders.>"]))
        refused = await answer(own_nats, outgoing(1))
        assert isinstance(refused, Unavailable)
        assert "overlap" in refused.reason
        assert (await context.stream_info("OTHER")).state.messages == 0


async def test_a_stream_of_our_name_for_other_subjects_is_told(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context:
        await context.add_stream(api.StreamConfig(name=STREAM, subjects=["something.else"]))
        refused = await answer(own_nats, outgoing(1))
    assert isinstance(refused, Unavailable)
    assert "add that subject" in refused.reason


async def test_a_deleted_stream_is_made_again_and_takes_the_next_try(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context, ready_broker(own_nats.url) as broker:
        broker.declare(ROUTE)
        assert await broker.publish([outgoing(1)]) == [Accepted()]
        await context.delete_stream(STREAM)
        assert isinstance((await broker.publish([outgoing(2)]))[0], Unavailable)
        assert await broker.publish([outgoing(2)]) == [Accepted()]
        assert [each.id for each in await receive(own_nats.url, TOPIC, "billing", 1)] == [outgoing(2).id]


async def test_after_a_purge_the_next_attempt_is_delivered_although_the_server_knew_the_message(
    own_nats: Nats,
) -> None:
    async with jetstream(own_nats.url) as context, ready_broker(own_nats.url) as broker:
        broker.declare(ROUTE)
        await broker.publish([outgoing(1)])
        await context.purge_stream(STREAM)
        assert await broker.publish([outgoing(1, attempt=2, subscriptions=("billing",))]) == [Accepted()]
        [received] = await receive(own_nats.url, TOPIC, "billing", 1)
        assert received.headers["aftercommit-for"] == "billing"


async def test_a_consumer_that_was_deleted_is_noticed_and_made_again(own_nats: Nats) -> None:
    clock = ManualClock()
    topology = Topology(clock=clock)
    topology.learn(ROUTE)
    async with jetstream(own_nats.url) as context:
        await topology.ensure(context, TOPIC)
        await context.delete_consumer(STREAM, CONSUMER)
        await topology.ensure(context, TOPIC)
        assert not await has_consumer(context, CONSUMER)
        await clock.run(TRUST_SECONDS)
        await topology.ensure(context, TOPIC)
        assert await has_consumer(context, CONSUMER)


async def test_a_dropped_subscriptions_consumer_goes_and_holds_nothing_any_more(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context, ready_broker(own_nats.url) as broker:
        broker.declare(Route(topic=TOPIC, subscriptions=("billing", "shipping")))
        await broker.publish([outgoing(1)])
        broker.declare(Route(topic=TOPIC, subscriptions=("billing",), dropped=("default", "shipping")))
        await until_consumer(context, "orders_created__shipping", there=False)
        assert len(await receive(own_nats.url, TOPIC, "billing", 1)) == 1
        await until_empty(context)
        # What is still open for it is delivered all the same.
        aimed = outgoing(1, attempt=2, subscriptions=("shipping",))
        assert await broker.publish([aimed]) == [Accepted()]
        assert len(await receive(own_nats.url, TOPIC, "shipping", 1)) == 1


async def test_a_consumer_of_the_same_name_for_another_topic_is_left_alone_and_named(own_nats: Nats) -> None:
    async with jetstream(own_nats.url) as context, ready_broker(own_nats.url) as broker:
        broker.declare(Route(topic="orders_created", subscriptions=("billing",)))
        await until_consumer(context, CONSUMER)
        broker.declare(ROUTE)
        [refused] = await broker.publish([outgoing(1)])
        assert isinstance(refused, Unavailable)
        assert CONSUMER in refused.reason
        assert await broker.publish([outgoing(2, topic="orders_created")]) == [Accepted()]

        topology = Topology(clock=ManualClock())
        topology.learn(Route(topic=TOPIC, subscriptions=(), dropped=("billing",)))
        await topology.ensure(context, TOPIC)
        assert await has_consumer(context, CONSUMER)
        topology.learn(ROUTE)
        with pytest.raises(Misplaced):
            await topology.ensure(context, TOPIC)


@pytest.mark.parametrize("topic", ["orders..created", "orders."])
async def test_a_topic_without_a_subject_is_refused_for_good(own_nats: Nats, topic: str) -> None:
    refused = await answer(own_nats, outgoing(1, topic=topic))
    assert isinstance(refused, Refused)
    assert refused.final


@pytest.mark.parametrize("name", ["Nats-Rollup", "nats-msg-id"])
async def test_a_header_that_commands_the_server_is_refused_for_good(own_nats: Nats, name: str) -> None:
    refused = await answer(own_nats, outgoing(1, headers=((name, "all"),)))
    assert isinstance(refused, Refused)
    assert refused.final
    assert name in refused.reason
