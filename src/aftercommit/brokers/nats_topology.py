"""What the service sets up in JetStream: one stream, and a durable consumer for each subscription."""

import asyncio
from contextlib import suppress
from typing import Final

from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from aftercommit.ports.broker import Route
from aftercommit.ports.clock import Clock

STREAM: Final = "AFTERCOMMIT"
SUBJECTS: Final = "aftercommit.>"
# An interval as long as the protocol's first redelivery: a copy that was received and not acknowledged comes again.
ACK_WAIT_SECONDS: Final = 60.0
DUPLICATES_SECONDS: Final = 120.0
# What was there a moment ago is not looked up again; what somebody removed is noticed that much later.
TRUST_SECONDS: Final = 10.0

_STREAM_SEEN: Final = ("", "")


class Misplaced(Exception):
    """Something of that name is there already and is for something else; the text says what to do."""


class Topology:
    """Remembers who receives what, and makes it so. What exists under the right name is used as it is."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._routes: dict[str, Route] = {}
        # When a subscription's consumer was last seen, by topic and subscription, and when the stream was.
        self._seen: dict[tuple[str, str], float] = {}
        self._setting_up = asyncio.Lock()

    @property
    def topics(self) -> list[str]:
        """The topics whose route is known."""
        return list(self._routes)

    def learn(self, route: Route) -> None:
        """Who receives a topic's messages from now on."""
        self._routes[route.topic] = route
        for each in (*route.subscriptions, *route.dropped):
            self._seen.pop((route.topic, each), None)

    def forget(self) -> None:
        """Trust nothing seen so far: the server may have lost it."""
        self._seen.clear()

    def is_ready(self, topic: str, aimed_at: frozenset[str] = frozenset()) -> bool:
        """Whether everything was there a moment ago."""
        route = self._routes.get(topic)
        subscriptions = aimed_at if route is None else aimed_at.union(route.subscriptions)
        dropped = route is not None and bool(route.dropped)
        return not dropped and self._trusts(_STREAM_SEEN) and all(self._trusts((topic, each)) for each in subscriptions)

    async def ensure(self, jetstream: JetStreamContext, topic: str, aimed_at: frozenset[str] = frozenset()) -> None:
        """Make everything that a message of this topic needs, for those it is aimed at too; drop what was dropped.

        Raises what the client raises, and `Misplaced`.
        """
        # One after the other, or somebody with an older route makes again what another just dropped.
        async with self._setting_up:
            if not self._trusts(_STREAM_SEEN):
                await _ensure_stream(jetstream)
                self._see(_STREAM_SEEN)
            route = self._routes.get(topic, Route(topic=topic, subscriptions=()))
            for subscription in dict.fromkeys((*route.subscriptions, *sorted(aimed_at))):
                if not self._trusts((topic, subscription)):
                    await _ensure_consumer(jetstream, consumer_name(topic, subscription), topic)
                    self._see((topic, subscription))
            for subscription in route.dropped:
                if subscription not in aimed_at:
                    self._seen.pop((topic, subscription), None)
                    await _remove_consumer(jetstream, consumer_name(topic, subscription), topic)
            if route.dropped and self._routes.get(topic) is route:
                self._routes[topic] = Route(topic=topic, subscriptions=route.subscriptions)

    def _trusts(self, what: tuple[str, str]) -> bool:
        seen_at = self._seen.get(what)
        return seen_at is not None and self._clock.monotonic() < seen_at + TRUST_SECONDS

    def _see(self, what: tuple[str, str]) -> None:
        self._seen[what] = self._clock.monotonic()


def subject(topic: str) -> str:
    """Where a topic's messages go."""
    return f"aftercommit.{topic}"


def consumer_name(topic: str, subscription: str) -> str:
    """The durable consumer of a subscription."""
    return f"{topic.replace('.', '_')}__{subscription}"


def is_subject(topic: str) -> bool:
    """Whether NATS can carry a topic of that name: a subject has no empty part."""
    return all(topic.split("."))


async def _ensure_stream(jetstream: JetStreamContext) -> None:
    try:
        info = await jetstream.stream_info(STREAM)
    except NotFoundError:
        # Everything is kept until each consumer has acknowledged it, and refused rather than dropped when there is no
        # room. With no consumer nothing would be kept: consumers are made before anything is published.
        await jetstream.add_stream(
            api.StreamConfig(
                name=STREAM,
                description="Messages delivered by AfterCommit.",
                subjects=[SUBJECTS],
                storage=api.StorageType.FILE,
                retention=api.RetentionPolicy.INTEREST,
                discard=api.DiscardPolicy.NEW,
                max_age=0,
                duplicate_window=DUPLICATES_SECONDS,
            )
        )
        return
    if SUBJECTS not in (info.config.subjects or ()):
        raise Misplaced(f"The stream {STREAM} exists and does not take {SUBJECTS}: add that subject to it.")


async def _ensure_consumer(jetstream: JetStreamContext, name: str, topic: str) -> None:
    info = await find_consumer(jetstream, name)
    if info is None:
        await jetstream.add_consumer(
            STREAM,
            api.ConsumerConfig(
                durable_name=name,
                filter_subject=subject(topic),
                # What was published before was not meant for this subscription, or comes again.
                deliver_policy=api.DeliverPolicy.NEW,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
            ),
        )
        return
    if not _is_for(info.config, topic):
        raise Misplaced(
            f"The consumer {name} exists and listens to {info.config.filter_subject!r} instead of {subject(topic)!r}:"
            " rename one of the two topics or subscriptions."
        )


async def _remove_consumer(jetstream: JetStreamContext, name: str, topic: str) -> None:
    info = await find_consumer(jetstream, name)
    if info is not None and _is_for(info.config, topic):
        # Gone meanwhile is as good.
        with suppress(NotFoundError):
            await jetstream.delete_consumer(STREAM, name)


async def find_consumer(jetstream: JetStreamContext, name: str) -> api.ConsumerInfo | None:
    """The stream's consumer of that name; None if there is none, or no stream."""
    try:
        info: api.ConsumerInfo = await jetstream.consumer_info(STREAM, name)
    except NotFoundError:
        return None
    except TypeError:
        # Of a consumer that is just being removed the server sends half an answer, and the client stumbles over it.
        return None
    return info


def _is_for(config: api.ConsumerConfig, topic: str) -> bool:
    return subject(topic) in (config.filter_subject, *(config.filter_subjects or ()))
