"""The other end of NATS: a plain client that reads as a subscription, and a broker of ours that is ready."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.js import JetStreamContext

from aftercommit.brokers.nats import NatsBroker
from aftercommit.brokers.nats_topology import STREAM, consumer_name, find_consumer, subject
from aftercommit.clocks import SystemClock, new_id
from aftercommit.testing.observer import RecordingObserver
from tests.brokers.waiting import until
from tests.conformance.broker_suite import Received

PATIENCE_SECONDS = 10.0
# How long nothing must come before nothing is said to come.
SILENCE_SECONDS = 0.3


def make_broker(url: str, *, observer: RecordingObserver | None = None, **options: Any) -> NatsBroker:
    """A broker of ours, not open yet."""
    return NatsBroker(
        url,
        clock=SystemClock(),
        observer=observer or RecordingObserver(),
        chance=random.Random().random,
        new_id=new_id,
        **options,
    )


@asynccontextmanager
async def ready_broker(url: str, **options: Any) -> AsyncIterator[NatsBroker]:
    """A broker of ours that is connected; closed in the end."""
    broker = make_broker(url, **options)
    await broker.open()
    try:
        await until(lambda: broker.trouble is None)
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    """A plain client's view of the server."""
    async with await nats.connect(url) as connection:
        yield connection.jetstream()


async def receive(url: str, topic: str, subscription: str, count: int | None = None) -> list[Received]:
    """What the subscription gets and acknowledges: `count` messages, or (None) all there are."""
    received: list[Received] = []
    async with jetstream(url) as context:
        reader = await context.pull_subscribe_bind(consumer_name(topic, subscription), STREAM)
        while count is None or len(received) < count:
            try:
                batch = await reader.fetch(100, timeout=SILENCE_SECONDS if count is None else PATIENCE_SECONDS)
            except TimeoutError:
                break
            for each in batch:
                assert each.subject == subject(topic)
                headers = {name: value for name, value in (each.headers or {}).items() if name[:5] != "Nats-"}
                received.append(Received(headers=headers, body=each.data))
                await each.ack()
    return received


async def until_consumer(context: JetStreamContext, name: str, *, there: bool = True) -> None:
    """Return when the stream has a consumer of that name, or (not `there`) has it no more."""
    clock = SystemClock()
    end = clock.monotonic() + PATIENCE_SECONDS
    while await has_consumer(context, name) != there:
        assert clock.monotonic() < end, f"{name} is {'not ' if there else ''}there after {PATIENCE_SECONDS} s."


async def has_consumer(context: JetStreamContext, name: str) -> bool:
    """Whether the stream has a consumer of that name."""
    return await find_consumer(context, name) is not None


async def until_empty(context: JetStreamContext) -> None:
    """Return when the stream holds nothing any more: acknowledgements take a moment."""
    clock = SystemClock()
    end = clock.monotonic() + PATIENCE_SECONDS
    while (left := (await context.stream_info(STREAM)).state.messages) != 0:
        assert clock.monotonic() < end, f"The stream still holds {left} messages after {PATIENCE_SECONDS} s."
