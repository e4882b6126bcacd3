"""A consumer as users write one with FastStream, as a process of its own: orders into a SQLite file, once each."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from faststream import AckPolicy, FastStream
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aftercommit.sdk.clients.async_client import AsyncClient
from aftercommit.sdk.consumer.faststream import InboxMiddleware, Received, Tx, require_safe
from aftercommit.sdk.consumer.inbox import AsyncInbox
from aftercommit.sdk.consumer.receipts import Fail, RetryLater
from aftercommit.sdk.transactions.points import Point

SUBSCRIPTION = "stock"
POLICY = AckPolicy.NACK_ON_ERROR
LOOK_AGAIN_SECONDS = 0.02


def rabbitmq(url: str, topic: str, middleware: InboxMiddleware) -> tuple[Any, list[Any]]:
    from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

    broker = RabbitBroker(url, middlewares=[middleware], ack_policy=POLICY, default_channel=Channel(prefetch_count=10))
    return broker, [broker.subscriber(RabbitQueue(f"aftercommit.{topic}.{SUBSCRIPTION}", declare=False))]


def redis(url: str, topic: str, middleware: InboxMiddleware) -> tuple[Any, list[Any]]:
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(url, middlewares=[middleware], ack_policy=POLICY)
    group: dict[str, Any] = {"group": SUBSCRIPTION, "consumer": "one"}
    # The second takes over what a reader that died had read and not acknowledged.
    streams: list[Any] = [
        StreamSub(f"aftercommit:{topic}", **group, polling_interval=50),
        StreamSub(f"aftercommit:{topic}", **group, polling_interval=50, min_idle_time=500),
    ]
    return broker, [broker.subscriber(stream=each) for each in streams]


def nats(url: str, topic: str, middleware: InboxMiddleware) -> tuple[Any, list[Any]]:
    from faststream.nats import JStream, NatsBroker, PullSub

    broker = NatsBroker(url, middlewares=[middleware], ack_policy=POLICY)
    stream = JStream(f"AFTERCOMMIT_{topic.replace('.', '_')}", declare=False)
    durable = f"{topic.replace('.', '_')}__{SUBSCRIPTION}"
    pull = PullSub(batch_size=10, timeout=0.5)
    return broker, [broker.subscriber(f"aftercommit.{topic}", stream=stream, durable=durable, pull_sub=pull)]


def kafka(url: str, topic: str, middleware: InboxMiddleware) -> tuple[Any, list[Any]]:
    from faststream.confluent import KafkaBroker

    from tests.servers.kafka import QUICK_SESSIONS

    broker = KafkaBroker(url, middlewares=[middleware], ack_policy=POLICY, config=QUICK_SESSIONS)  # type: ignore[arg-type]  # it takes any of Kafka's options
    return broker, [
        broker.subscriber(topic, group_id=SUBSCRIPTION, auto_offset_reset="earliest", polling_interval=0.05)
    ]


KINDS = {each.__name__: each for each in (rabbitmq, redis, nats, kafka)}


def die_at(point: str) -> Any:
    """Die as a power cut would, once that point is reached."""

    def probe(passed: Point) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


async def main(kind: str, url: str, topic: str, node_url: str, folder: Path, point: str) -> None:
    """Consume until SIGTERM."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'stock.db'}")
    client = AsyncClient(node_url, app="stock")
    inbox = AsyncInbox(client, engine, subscription=SUBSCRIPTION, probe=die_at(point) if point else None)
    broker, subscribers = KINDS[kind](url, topic, InboxMiddleware(inbox))

    async def reserve(order: dict[str, Any], tx: Tx, delivery: Received) -> Fail | RetryLater | None:
        row = {"id": delivery.id, "number": order["order"], "attempt": delivery.attempt}
        await tx.session.execute(text("INSERT INTO orders VALUES (:id, :number, :attempt)"), row)
        match order.get("say"):
            case "fail":
                return Fail("there is no such item")
            case "later" if delivery.attempt == 1:
                raise RetryLater("not now")
            case "slow":
                (folder / "begun").touch()
                while not (folder / "go").exists():  # noqa: ASYNC110 - a file is what another process can lay down
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return None

    for each in subscribers:
        each(reserve)
    app = FastStream(broker)

    @app.on_startup
    async def check() -> None:
        require_safe(*broker.subscribers)

    @app.after_startup
    async def say_so() -> None:
        (folder / "ready").touch()

    await app.run()
    await client.close()
    await engine.dispose()


if __name__ == "__main__":
    program, kind, url, topic, node_url, folder, point = sys.argv
    asyncio.run(main(kind, url, topic, node_url, Path(folder), point))
