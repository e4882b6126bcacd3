"""Consumers of the built-in broker: pull, and wait for something to pull."""

import asyncio
from typing import Final

from aftercommit.domain.catalog import Subscription
from aftercommit.domain.commands import ClaimPulls
from aftercommit.domain.errors import Conflict, Invalid
from aftercommit.domain.message import Claimed, Taken
from aftercommit.ports.broker import PullBroker
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.service.caller import Caller
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.views import payload_base64, payload_json
from aftercommit.wire import PULL_MAX, PulledMessage, rfc3339

WAIT_MAX_SECONDS: Final = 30.0
# A waiter looks again at least this often, whatever wakes it.
LOOK_AGAIN_SECONDS: Final = 5.0


class Pulling:
    """Hands out deliveries; each attempt to one consumer only."""

    def __init__(
        self,
        gatherer: Gatherer,
        directory: Directory,
        broker: PullBroker | None,
        *,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._gatherer = gatherer
        self._directory = directory
        self._broker = broker
        self._clock = clock
        self._observer = observer
        self._stopping = False
        self._waiters: set[asyncio.Event] = set()

    async def pull(
        self, caller: Caller, topic: str, subscription: str, limit: int, wait_seconds: float
    ) -> list[PulledMessage]:
        """Up to `limit` deliveries, waiting up to `wait_seconds` for the first. Each is one counted attempt."""
        if not 1 <= limit <= PULL_MAX:
            raise Invalid("invalid_max", f"max must be from 1 to {PULL_MAX}.", "/max")
        if not 0 <= wait_seconds <= WAIT_MAX_SECONDS:
            raise Invalid("invalid_wait", "wait_seconds must be from 0 to 30.", "/wait_seconds")
        own = self._directory.own_subscription(caller, topic, subscription)
        if self._broker is None:
            raise Conflict(
                "pull_not_available", f"Topic {topic!r} is delivered by an outside broker: consume it there."
            )
        waiter = self._broker.waiter(own.id)
        self._waiters.add(waiter)
        try:
            taken = await self._await_some(own, limit, self._clock.monotonic() + wait_seconds, waiter)
        finally:
            self._waiters.discard(waiter)
            self._broker.leave(own.id, waiter)
        if taken:
            self._observer.count("events", len(taken), event="pulled")
        return [self._render(each, own) for each in taken]

    def stop(self) -> None:
        """Send everybody who waits home, with nothing."""
        self._stopping = True
        for waiter in self._waiters:
            waiter.set()

    async def _await_some(
        self, own: Subscription, limit: int, until: float, waiter: asyncio.Event
    ) -> tuple[Taken, ...]:
        while not self._stopping:
            waiter.clear()
            next_in = LOOK_AGAIN_SECONDS
            if not self._paused(own):
                claimed = await self._gatherer.claim(ClaimPulls(subscription=own.id, limit=limit))
                if claimed.taken:
                    return claimed.taken
                next_in = self._next_in(claimed)
            left = until - self._clock.monotonic()
            if left <= 0:
                break
            await self._clock.wait(waiter, min(left, next_in))
        return ()

    def _paused(self, own: Subscription) -> bool:
        topic = self._directory.catalog.topics[own.topic]
        return topic.paused_at is not None

    def _next_in(self, claimed: Claimed) -> float:
        if claimed.parked:
            # What was due had used up its budget: look at once for what stands behind it.
            return 0.0
        if claimed.next_at is None:
            return LOOK_AGAIN_SECONDS
        return min(LOOK_AGAIN_SECONDS, max(0.001, (claimed.next_at - self._clock.now()) / 1000))

    def _render(self, taken: Taken, own: Subscription) -> PulledMessage:
        message, content = taken.message, taken.content
        delivery = next(each for each in message.deliveries if each.subscription == own.id)
        if content is None:
            raise TypeError(f"Message {message.id} was pulled without its content.")
        return PulledMessage(
            id=message.id,
            topic=self._directory.topic_name(message.topic) or "",
            key=content.key,
            headers=dict(content.headers),
            content_type=content.content_type,
            attempt=delivery.attempts,
            sent_at=None if delivery.sent_at is None else rfc3339(delivery.sent_at),
            payload=payload_json(content),
            payload_base64=payload_base64(content),
        )
