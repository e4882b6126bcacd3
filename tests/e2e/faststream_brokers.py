"""What the service would do at each broker by protocol 6: declare, publish, and what is left there to be handled."""

from collections.abc import Mapping
from typing import Any, Protocol

from tests.e2e.faststream_program import SUBSCRIPTION

PATIENCE_SECONDS = 20


class Carrier(Protocol):
    """One topic at one broker. `url` is what the consumer connects to."""

    kind: str
    url: str
    topic: str

    async def declare(self) -> None:
        """Lay out the destinations."""

    async def publish(self, headers: Mapping[str, str], body: bytes) -> None:
        """Send a message, and return when the broker has it."""

    async def left(self) -> int:
        """How many messages the subscription has not acknowledged, as far as the broker counts them now."""


class RabbitMQCarrier:
    """A durable topic exchange, and a quorum queue for the subscription."""

    kind = "rabbitmq"

    def __init__(self, url: str, topic: str) -> None:
        self.url = url
        self.topic = topic
        self._queue = f"aftercommit.{topic}.{SUBSCRIPTION}"

    async def declare(self) -> None:
        import aio_pika

        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("aftercommit", aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(self._queue, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(exchange, self.topic)

    async def publish(self, headers: Mapping[str, str], body: bytes) -> None:
        import aio_pika

        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.get_exchange("aftercommit", ensure=False)
            message = aio_pika.Message(
                body, headers=dict(headers), content_type=headers["content-type"], delivery_mode=2
            )
            await exchange.publish(message, self.topic, mandatory=True)

    async def left(self) -> int:
        import aio_pika

        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(self._queue, passive=True)
            return queue.declaration_result.message_count or 0


class RedisCarrier:
    """A stream with a group for the subscription."""

    kind = "redis"

    def __init__(self, url: str, topic: str) -> None:
        self.url = url
        self.topic = topic
        self._stream = f"aftercommit:{topic}"

    async def declare(self) -> None:
        from redis.asyncio import Redis

        async with Redis.from_url(self.url) as client:
            await client.xgroup_create(self._stream, SUBSCRIPTION, id="0", mkstream=True)

    async def publish(self, headers: Mapping[str, str], body: bytes) -> None:
        from redis.asyncio import Redis

        async with Redis.from_url(self.url) as client:
            fields: dict[Any, Any] = {"body": body, **headers}
            await client.xadd(self._stream, fields)

    async def left(self) -> int:
        from redis.asyncio import Redis

        async with Redis.from_url(self.url) as client:
            [group] = await client.xinfo_groups(self._stream)
            return int(group["pending"]) + int(group["lag"])


class NatsCarrier:
    """A stream, and a durable consumer for the subscription that asks for each message to be acknowledged."""

    kind = "nats"

    def __init__(self, url: str, topic: str) -> None:
        self.url = url
        self.topic = topic
        self._subject = f"aftercommit.{topic}"
        name = topic.replace(".", "_")
        self._stream = f"AFTERCOMMIT_{name}"
        self._durable = f"{name}__{SUBSCRIPTION}"

    async def declare(self) -> None:
        import nats
        from nats.js.api import AckPolicy, ConsumerConfig

        async with await nats.connect(self.url) as connection:
            jetstream = connection.jetstream()
            await jetstream.add_stream(name=self._stream, subjects=[self._subject])
            config = ConsumerConfig(durable_name=self._durable, ack_policy=AckPolicy.EXPLICIT, ack_wait=1.0)
            await jetstream.add_consumer(self._stream, config)

    async def publish(self, headers: Mapping[str, str], body: bytes) -> None:
        import nats

        async with await nats.connect(self.url) as connection:
            await connection.jetstream().publish(self._subject, body, headers=dict(headers))

    async def left(self) -> int:
        import nats

        async with await nats.connect(self.url) as connection:
            info = await connection.jetstream().consumer_info(self._stream, self._durable)
            return (info.num_pending or 0) + (info.num_ack_pending or 0)


class KafkaCarrier:
    """A topic with one partition, and the subscription as its group."""

    kind = "kafka"

    def __init__(self, url: str, topic: str) -> None:
        self.url = url
        self.topic = topic

    async def declare(self) -> None:
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        # Held by a name: what an administrator asked for is called off when nobody holds him any more.
        admin = AdminClient({"bootstrap.servers": self.url})
        admin.create_topics([NewTopic(self.topic, 1)])[self.topic].result(PATIENCE_SECONDS)

    async def publish(self, headers: Mapping[str, str], body: bytes) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.url})
        producer.produce(self.topic, body, headers={name: value.encode() for name, value in headers.items()})
        assert producer.flush(PATIENCE_SECONDS) == 0

    async def left(self) -> int:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.url, "group.id": SUBSCRIPTION, "enable.auto.commit": False})
        try:
            partition = TopicPartition(self.topic, 0)
            [committed] = consumer.committed([partition], timeout=PATIENCE_SECONDS)
            _low, high = consumer.get_watermark_offsets(partition, timeout=PATIENCE_SECONDS)
            return int(high) - max(committed.offset, 0)
        finally:
            consumer.close()
