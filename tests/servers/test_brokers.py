"""The brokers that the tests start: they carry messages, keep what they accepted, and stay to themselves."""

import asyncio
from contextlib import closing

import confluent_kafka
import nats
import pika
import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest
import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.servers.kafka import QUICK_SESSIONS
from tests.servers.ports import accepts_connections
from tests.servers.server import Server

PATIENCE_SECONDS = 20


def test_redis_keeps_a_stream_after_kill9(redis_server):
    with redis.Redis.from_url(redis_server.url) as before:
        added = before.xadd("kept", {"id": "7"})

    redis_server.kill9()
    assert not accepts_connections(redis_server.port)
    redis_server.start()

    with redis.Redis.from_url(redis_server.url) as after:
        assert after.xrange("kept") == [(added, {b"id": b"7"})]


async def test_nats_keeps_an_acknowledged_message_after_kill9(nats_server):
    async with await nats.connect(nats_server.url) as before:
        await before.jetstream().add_stream(name="kept", subjects=["kept.*"])
        await before.jetstream().publish("kept.one", b"7")

    nats_server.kill9()
    nats_server.start()

    async with await nats.connect(nats_server.url) as after:
        subscription = await after.jetstream().pull_subscribe("kept.*", durable="reader", stream="kept")
        [message] = await subscription.fetch(1, timeout=PATIENCE_SECONDS)
        await message.ack()
    assert message.data == b"7"


def test_rabbitmq_keeps_a_confirmed_message_after_kill9(rabbitmq):
    with closing(pika.BlockingConnection(pika.URLParameters(rabbitmq.url))) as before:
        channel = before.channel()
        channel.queue_declare("kept", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "kept", b"7", pika.BasicProperties(delivery_mode=2), mandatory=True)

    rabbitmq.kill9()
    assert not accepts_connections(rabbitmq.port)
    rabbitmq.start()

    with closing(pika.BlockingConnection(pika.URLParameters(rabbitmq.url))) as after:
        _method, _properties, body = after.channel().basic_get("kept", auto_ack=True)
    assert body == b"7"


def test_kafka_gives_a_group_what_it_has_not_committed(kafka):
    address = {"bootstrap.servers": kafka.bootstrap_servers}
    # Held by a name: what an administrator asked for is called off when nobody holds him any more.
    admin = AdminClient(address)
    admin.create_topics([NewTopic("kept", 1)])["kept"].result(PATIENCE_SECONDS)
    producer = confluent_kafka.Producer(address)
    for number in (b"7", b"8"):
        producer.produce("kept", number)
    assert producer.flush(PATIENCE_SECONDS) == 0

    read = []
    for _consumer in range(2):
        settings = {"group.id": "readers", "auto.offset.reset": "earliest", "enable.auto.commit": False}
        with closing(confluent_kafka.Consumer({**address, **settings, **QUICK_SESSIONS})) as consumer:
            consumer.subscribe(["kept"])
            message = consumer.poll(PATIENCE_SECONDS)
            assert message is not None
            read.append(message.value())
            consumer.commit(message=message, asynchronous=False)

    assert read == [b"7", b"8"]


def test_kafka_comes_back_after_kill9_without_its_topics(kafka):
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    admin.create_topics([NewTopic("lost", 1)])["lost"].result(PATIENCE_SECONDS)

    kafka.kill9()
    assert not accepts_connections(kafka.port)
    kafka.start()

    assert "lost" not in admin.list_topics(timeout=PATIENCE_SECONDS).topics


@pytest.mark.parametrize("name", ["redis_server", "nats_server", "rabbitmq", "kafka"])
def test_a_broker_listens_on_a_port_of_its_own_and_nowhere_else_but_here(name, request):
    server: Server = request.getfixturevalue(name)
    process = psutil.Process(server.pid)
    listening = [taken.laddr for taken in process.net_connections() if taken.status == psutil.CONN_LISTEN]

    assert server.port in {address.port for address in listening}
    assert server.default_port not in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


async def test_a_broker_can_be_restarted_while_a_client_is_connected(nats_server):
    back = asyncio.Event()

    async def came_back() -> None:
        back.set()

    async with await nats.connect(nats_server.url, reconnected_cb=came_back, reconnect_time_wait=0.05):
        nats_server.restart()

        await asyncio.wait_for(back.wait(), PATIENCE_SECONDS)
