"""Consumers of the built-in broker: pull, and wait for something to pull."""

import asyncio
from collections.abc import Callable
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
from aftercommit.service.lookout import Lookout
from aftercommit.service.views import payload_base64, payload_json
from aftercommit.wire import PULL_MAX, PulledMessage, rfc3339

WAIT_MAX_SECONDS: Final = 30.0
# Who waits looks again at least this often, whatever wakes it: there, another node may have brought something.
LOOK_AGAIN_SECONDS: Final = 5.0
LOOK_AGAIN_SHARED_SECONDS: Final = 0.25


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
        chance: Callable[[], float],
        shared: bool,
    ) -> None:
        self._gatherer = gatherer
        self._directory = directory
        self._broker = broker
        self._clock = clock
        self._observer = observer
        self._stopping = False
        self._waiters: set[asyncio.Event] = set()
        self._chance = chance
        self._look_again_seconds = LOOK_AGAIN_SHARED_SECONDS if shared else LOOK_AGAIN_SECONDS
        self._lookouts: dict[int, Lookout] = {}

    async def pull(
        self, caller: Caller, topic: str, subscription: str, limit: int, wait_seconds: float
    ) -> list[PulledMessage]:
        """Up to `limit` deliveries, waiting up to `wait_seconds` for the first. Each is one counted attempt."""
        if not 1 <= limit <= PULL_MAX:
            raise Invalid("invalid_max", f"max must be from 1 to {PULL_MAX}.", "/max")
        if not 0 <= wait_seconds <= WAIT_MAX_SECONDS:
            raise Invalid("invalid_wait", "wait_seconds must be from 0 to 30.", "/wait_seconds")
        own = await self._directory.find_own_subscription(caller, topic, subscription)
        if self._broker is None:
            raise Conflict(
                "pull_not_available", f"Topic {topic!r} is delivered by an outside broker: consume it there."
            )
        waiter = self._broker.waiter(own.id)
        self._waiters.add(waiter)
        try:
            taken = await self._await_some(own, limit, self._clock.monotonic() + wait_seconds, waiter, self._broker)
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
        self, own: Subscription, limit: int, until: float, waiter: asyncio.Event, broker: PullBroker
    ) -> tuple[Taken, ...]:
        claimed = await self._claim(own, limit)
        if claimed.taken or self._clock.monotonic() >= until:
            return claimed.taken
        lookout = self._lookout(own.id, broker)
        lookout.enter()
        try:
            lookout.seen(claimed)
            while not claimed.taken and not self._stopping and (left := until - self._clock.monotonic()) > 0:
                if await self._clock.wait(waiter, left) and not self._stopping:
                    waiter.clear()
                    claimed = await self._claim(own, limit)
        finally:
            lookout.leave()
            if not lookout.is_needed:
                del self._lookouts[own.id]
        return claimed.taken

    async def _claim(self, own: Subscription, limit: int) -> Claimed:
        if self._stopping or self._directory.catalog.topics[own.topic].paused_at is not None:
            return Claimed()
        claimed = await self._gatherer.claim(ClaimPulls(subscription=own.id, limit=limit))
        lookout = self._lookouts.get(own.id)
        if lookout is not None:
            lookout.seen(claimed)
        return claimed

    def _lookout(self, subscription: int, broker: PullBroker) -> Lookout:
        known = self._lookouts.get(subscription)
        if known is None:
            known = self._lookouts[subscription] = Lookout(
                lambda: broker.announce((subscription,)), clock=self._clock, interval=self._interval
            )
        return known

    def _interval(self) -> float:
        # Jittered, so that nodes do not look in step.
        return self._look_again_seconds * (1 - 0.2 * self._chance())

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
