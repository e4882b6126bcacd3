"""Sent but not settled in time: to the broker again, or, with the budget used up, parked as undelivered."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from aftercommit.domain.commands import ClaimExpired
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import DueKind
from aftercommit.ports.broker import Broker
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Dispatch, Publish, Store
from aftercommit.service.crew import Crew
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.lanes import Lanes

SWEEP_SECONDS: Final = 1.0
CLAIM_MAX: Final = 500
REDELIVERIES_PER_SECOND: Final = 10


class Redeliverer:
    """Two kinds of due work, one rule: an attempt that nobody reported is over when its interval has passed.

    With the built-in broker a pull is the redelivery, so that only used-up budgets are left to do here. With an outside
    broker each subscription gets at most 10 redeliveries a second; the rest waits without using budget.
    """

    def __init__(
        self,
        store: Store,
        gatherer: Gatherer,
        directory: Directory,
        *,
        publish_again: Callable[[int], Publish],
        broker: Broker,
        clock: Clock,
        observer: Observer,
        announce: Callable[[int], None],
        finished: Callable[[], None],
    ) -> None:
        self._store = store
        self._gatherer = gatherer
        self._directory = directory
        self._publish_again = publish_again
        self._broker = broker
        self._clock = clock
        self._observer = observer
        self._announce = announce
        self._recent: dict[int, deque[float]] = {}
        self._expired = Lanes(store, DueKind.EXPIRE, clock=clock, sweep_seconds=SWEEP_SECONDS)
        self._redelivered = Lanes(store, DueKind.REDELIVER, clock=clock, sweep_seconds=SWEEP_SECONDS)
        self._crew = Crew(
            "redeliver", self._redeliver, lanes=self._redelivered, clock=clock, observer=observer, finished=finished
        )

    async def run_once(self) -> float | None:
        """One round over everything that is due; returns the seconds until more will be."""
        for lanes in (self._expired, self._redelivered):
            await lanes.sweep_if_due()
        expired, redelivered = self._expired.take_due(), self._redelivered.take_due()
        await self._directory.know(subscriptions=[*expired, *redelivered])
        await asyncio.gather(*(self._expire(each) for each in expired if self._flows(each)))
        self._crew.give(each for each in redelivered if self._flows(each))
        return min(self._expired.seconds_until_next(), self._redelivered.seconds_until_next())

    async def drain(self) -> None:
        """Wait for what is being published."""
        await self._crew.drain()

    def _flows(self, subscription: int) -> bool:
        # What is paused, or not known here, is left for the next sweep.
        catalog = self._directory.catalog
        known = catalog.subscriptions.get(subscription)
        return known is not None and catalog.topics[known.topic].paused_at is None

    async def _expire(self, subscription: int) -> None:
        claimed = await self._gatherer.claim(ClaimExpired(subscription=subscription, limit=CLAIM_MAX))
        if claimed.next_at is not None:
            self._expired.expect(subscription, claimed.next_at)
        if claimed.taken:
            # Their budget was raised meanwhile: they may be pulled again.
            self._announce(subscription)
        if claimed.parked:
            self._observer.count("events", claimed.parked, event=Status.UNDELIVERED)
            name = self._directory.catalog.subscriptions[subscription].name
            self._observer.alert(Status.UNDELIVERED, f"{claimed.parked} deliveries to {name} used up their attempts.")

    async def _redeliver(self, subscription: int) -> None:
        if self._broker.trouble is not None:
            # Due stays due: the sweep finds it when the broker is back.
            return
        limit = min(self._broker.capabilities.window_max, self._allowance(subscription))
        if limit == 0:
            self._redelivered.expect(subscription, self._clock.now() + 100)
            return
        request = Dispatch(kind=DueKind.REDELIVER, lane=subscription, limit=limit)
        done = await self._store.dispatch(request, self._publish_again(subscription), self._clock.now())
        self._recent.setdefault(subscription, deque()).extend([self._clock.monotonic()] * done.accepted)
        self._observer.count("events", done.accepted, event="redelivered")
        self._observer.count("events", done.parked, event=Status.UNDELIVERED)

    def _allowance(self, subscription: int) -> int:
        recent = self._recent.setdefault(subscription, deque())
        while recent and recent[0] <= self._clock.monotonic() - 1.0:
            recent.popleft()
        return max(0, REDELIVERIES_PER_SECOND - len(recent))
