"""From pending_send to sent: whatever is due goes to the broker and is marked in the same transaction."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from aftercommit.domain.catalog import Subscription
from aftercommit.domain.commands import ClaimSends
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import DueKind, Taken
from aftercommit.ports.broker import Answer, Broker, Outgoing, PullBroker, Route
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Dispatch, Publish, Store
from aftercommit.service.breaker import Breaker
from aftercommit.service.crew import Crew
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.lanes import Lanes

SWEEP_SECONDS: Final = 5.0
CLAIM_MAX: Final = 1000
# How soon a broker in trouble is looked at again. Looking costs nothing: nothing is claimed for it.
TROUBLE_MS: Final = 250


class Dispatcher:
    """Sends what is due, topic by topic. The node that confirms wakes it; a sweep finds what no wake told of."""

    def __init__(
        self,
        store: Store,
        gatherer: Gatherer,
        directory: Directory,
        broker: Broker,
        *,
        pulls: PullBroker | None,
        clock: Clock,
        observer: Observer,
        finished: Callable[[], None],
    ) -> None:
        self._store = store
        self._gatherer = gatherer
        self._directory = directory
        self._broker = broker
        self._pulls = pulls
        self._clock = clock
        self._observer = observer
        self._breaker = Breaker(clock=clock)
        self._declared: dict[int, tuple[Subscription, ...]] = {}
        self.lanes = Lanes(store, DueKind.SEND, clock=clock, sweep_seconds=SWEEP_SECONDS)
        self._crew = Crew(
            "dispatch", self._publish, lanes=self.lanes, clock=clock, observer=observer, finished=finished
        )

    def wake(self, topic: int, at: int) -> None:
        """Messages of `topic` are due at that time."""
        self.lanes.expect(topic, at)

    def declare(self, topic: int) -> None:
        """Tell the broker who receives the topic's messages, unless it was told."""
        catalog = self._directory.catalog
        route = catalog.route(topic)
        if self._declared.get(topic) != route:
            self._declare(topic, [each for each in catalog.subscriptions.values() if each.topic == topic])

    def declare_all(self) -> None:
        """Tell the broker about every topic there is."""
        catalog = self._directory.catalog
        of_topic: dict[int, list[Subscription]] = {}
        for each in catalog.subscriptions.values():
            of_topic.setdefault(each.topic, []).append(each)
        for topic in catalog.topics.values():
            if topic.removed_at is None:
                self._declare(topic.id, of_topic.get(topic.id, []))

    def _declare(self, topic: int, ever: Sequence[Subscription]) -> None:
        catalog = self._directory.catalog
        route = self._declared[topic] = catalog.route(topic)
        present = tuple(each.name for each in route)
        # Dropped is also the implicit one, where others have taken its place.
        dropped = tuple(each.name for each in ever if each.name not in present)
        self._broker.declare(Route(topic=catalog.topics[topic].name, subscriptions=present, dropped=dropped))

    async def run_once(self) -> float | None:
        """Send everything that is due now, or see to it that it is sent; returns the seconds until more will be.

        What only takes a write of the store shares one. With an outside broker no topic waits for another's.
        """
        await self.lanes.sweep_if_due()
        due = self.lanes.take_due()
        await self._directory.know(topics=due)
        flowing = [topic for topic in due if self._may_send(topic)]
        if self._pulls is not None:
            pulls = self._pulls
            await asyncio.gather(*(self._make_pullable(topic, pulls) for topic in flowing))
        else:
            self._crew.give(flowing)
        return self.lanes.seconds_until_next()

    async def drain(self) -> None:
        """Wait for what is being published."""
        await self._crew.drain()

    def _may_send(self, topic: int) -> bool:
        # One that is paused, or not known here, is not expected again: the sweep looks at it, and resuming wakes it.
        known = self._directory.catalog.topics.get(topic)
        return known is not None and known.paused_at is None

    async def _make_pullable(self, topic: int, pulls: PullBroker) -> None:
        claimed = await self._gatherer.claim(ClaimSends(topic=topic, limit=CLAIM_MAX))
        self._expect_rest(topic, claimed.seen >= CLAIM_MAX, claimed.next_at)
        if claimed.taken:
            self._observer.count("events", len(claimed.taken), event=Status.SENT)
            pulls.announce(_pullable(claimed.taken))

    async def _publish(self, topic: int) -> None:
        if self._broker.trouble is not None:
            self.lanes.expect(topic, self._clock.now() + TROUBLE_MS)
            return
        if not self._breaker.closed(topic):
            self.lanes.expect(topic, self._clock.now() + round(self._breaker.wait_seconds(topic) * 1000))
            return
        # Where nobody told of a change: topics that came into being with their first message, edits of other nodes.
        self.declare(topic)
        limit = self._broker.capabilities.window_max
        request = Dispatch(kind=DueKind.SEND, lane=topic, limit=limit)
        done = await self._store.dispatch(request, self.publish, self._clock.now())
        self._observer.count("events", done.accepted, event=Status.SENT)
        if done.unavailable is not None:
            self._breaker.failed(topic)
            self._observer.alert("broker_unavailable", done.unavailable)
            self.lanes.expect(topic, self._clock.now() + round(self._breaker.wait_seconds(topic) * 1000))
        else:
            self._breaker.succeeded(topic)
            self._expect_rest(topic, done.accepted + done.refused + done.parked >= limit, None)

    def _expect_rest(self, topic: int, more: bool, next_at: int | None) -> None:
        if more:
            self.lanes.expect(topic, self._clock.now())
        elif next_at is not None:
            self.lanes.expect(topic, next_at)

    async def publish(self, batch: Sequence[Taken]) -> list[Answer]:
        """Hand claimed messages to the broker, for every subscription that waits to be sent to."""
        return await self._answers([self._outgoing(each, None) for each in batch])

    def publish_again(self, subscription: int) -> Publish:
        """Hand claimed messages to the broker, for this subscription only."""

        async def publish(batch: Sequence[Taken]) -> list[Answer]:
            self.declare(self._directory.catalog.subscriptions[subscription].topic)
            return await self._answers([self._outgoing(each, subscription) for each in batch])

        return publish

    async def _answers(self, batch: Sequence[Outgoing]) -> list[Answer]:
        answers = await self._broker.publish(batch)
        for answer in answers:
            self._observer.count("publish", 1, result=type(answer).__name__.lower())
        return answers

    def _outgoing(self, taken: Taken, subscription: int | None) -> Outgoing:
        message, content = taken.message, taken.content
        if content is None:
            raise TypeError(f"Message {message.id} was taken for sending without its content.")
        catalog = self._directory.catalog
        meant = [
            each
            for each in message.deliveries
            if (each.status is Status.PENDING_SEND if subscription is None else each.subscription == subscription)
        ]
        first = len(meant) == len(message.deliveries) and message.replay_of is None
        # For everybody who listens now, unless who listens has changed since the message was confirmed.
        route = () if message.topic is None else catalog.route(message.topic)
        same = {each.subscription for each in meant} == {each.id for each in route}
        fresh = first and same and all(each.attempts == 0 for each in meant)
        return Outgoing(
            id=message.id,
            topic=self._directory.topic_name(message.topic) or "",
            app=self._directory.app_name(message.app),
            # The attempt it is counted as once the broker has it.
            attempt=max((each.attempts for each in meant), default=0) + 1,
            content=content,
            subscriptions=None if fresh else tuple(catalog.subscriptions[each.subscription].name for each in meant),
        )


def _pullable(taken: Sequence[Taken]) -> Iterable[int]:
    """The subscription of every delivery that may be pulled now, once per delivery."""
    for each in taken:
        for delivery in each.message.deliveries:
            if delivery.due is not None and delivery.due.kind is DueKind.PULL:
                yield delivery.subscription
