"""However slow one destination is, and however much waits for it, the others have their turn."""

import asyncio
from collections.abc import Sequence

import msgspec

from aftercommit.domain.catalog import App
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.domain.message import DueKind
from aftercommit.ports.broker import Answer, BrokerCapabilities, Outgoing
from aftercommit.ports.checkback import Question, Verdict
from aftercommit.ports.store import Dispatch, Dispatched, Publish
from aftercommit.service.caller import Caller
from aftercommit.service.crew import AT_ONCE_MAX, Crew
from aftercommit.service.lanes import Lanes
from aftercommit.service.loop import GRACE_SECONDS
from aftercommit.stores.memory import MemoryStore
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver
from aftercommit.wire import AppRequest, PrepareRequest
from tests.service.world import TOPIC, Initiator, ScriptedBroker, world


class StuckBroker(ScriptedBroker):
    """An outside broker that takes its time with the topics of `stuck`, until `free` is set."""

    capabilities = BrokerCapabilities(store_backed=False, window_max=3)

    def __init__(self, *stuck: str) -> None:
        super().__init__()
        self.stuck = set(stuck)
        self.free = asyncio.Event()
        self.under_way: list[str] = []

    async def publish(self, batch: Sequence[Outgoing]) -> list[Answer]:
        """One window of one topic."""
        topic = batch[0].topic
        self.under_way.append(topic)
        if topic in self.stuck:
            await self.free.wait()
        self.under_way.remove(topic)
        return await super().publish(batch)

    def topics(self) -> list[str]:
        """Of everything published, in order."""
        return [each.topic for each in self.published]


async def test_a_topic_whose_broker_does_not_answer_delays_no_other() -> None:
    broker = StuckBroker(TOPIC)
    async with world(broker) as w:
        await w.register()
        await w.confirmed()
        await w.clock.settle()
        assert broker.under_way == [TOPIC]
        for _ in range(3):
            await w.confirmed(topic="other")
            await w.clock.settle()
        assert broker.topics() == ["other"] * 3
        broker.free.set()
        await w.clock.settle()
        assert broker.topics()[3:] == [TOPIC]


async def test_what_comes_up_in_a_topic_while_it_is_published_to_goes_out_after_it_and_not_beside_it() -> None:
    broker = StuckBroker(TOPIC)
    async with world(broker) as w:
        await w.register()
        first = await w.confirmed()
        await w.clock.settle()
        second = await w.confirmed()
        await w.clock.run(0.1)
        assert broker.under_way == [TOPIC]
        broker.free.set()
        await w.clock.run(0.01)
        assert [each.id for each in broker.published] == [first, second]


async def test_a_topic_with_very_much_to_send_lets_the_others_have_their_turn() -> None:
    broker = StuckBroker()
    broker.trouble = "connection refused"
    async with world(broker) as w:
        await w.register()
        for _ in range(60):
            await w.confirmed()
        for topic in ("b", "c"):
            await w.confirmed(topic=topic)
        broker.trouble = None
        await w.clock.run(0.5)
        published = broker.topics()
        assert len(published) == 62
        assert max(published.index("b"), published.index("c")) <= 3 * 3


async def test_no_more_than_eight_topics_are_published_to_at_a_time_and_nobody_is_forgotten() -> None:
    topics = [f"topic.{number}" for number in range(20)]
    broker = StuckBroker(*topics)
    async with world(broker) as w:
        for topic in topics:
            await w.confirmed(topic=topic)
        await w.clock.run(1.0)
        assert len(broker.under_way) == AT_ONCE_MAX
        broker.free.set()
        await w.clock.run(0.1)
        assert sorted(broker.topics()) == sorted(topics)


async def test_a_redelivery_that_hangs_delays_no_other_subscription() -> None:
    broker = StuckBroker()
    async with world(broker) as w:
        await w.register(redelivery_seconds=[5])
        await w.confirmed()
        await w.confirmed(topic="other")
        await w.clock.run(1.0)
        broker.published.clear()
        broker.stuck = {TOPIC}
        await w.clock.run(300.0)
        assert broker.under_way == [TOPIC]
        assert "other" in broker.topics()
        assert TOPIC not in broker.topics()
        broker.free.set()


class SlowInitiators(Initiator):
    """Those of `slow` do not answer until `free` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = {"orders"}
        self.free = asyncio.Event()
        self.asked: list[str] = []

    async def ask(self, app: App, questions: Sequence[Question]) -> list[Verdict]:
        """Remember who was asked."""
        self.asked.append(app.name)
        if app.name in self.slow:
            await self.free.wait()
        return await super().ask(app, questions)


async def test_an_initiator_that_does_not_answer_delays_no_other_ones_checks() -> None:
    slow = SlowInitiators()
    async with world(initiator=slow) as w:
        await w.register()
        await w.in_time(
            w.services.registry.put_app(Caller("shop"), "shop", AppRequest(check_url="http://127.0.0.1:2/"))
        )
        for _ in range(5):
            await w.prepare(check_after_seconds=1)
        body = msgspec.json.encode({"topic": TOPIC, "payload": 1, "check_after_seconds": 2})
        request = msgspec.json.decode(body, type=PrepareRequest)
        await w.services.intake.prepare(Caller("shop"), request, None)
        await w.clock.run(3.0)
        assert slow.asked.count("shop") == 1
        assert slow.asked.count("orders") == 1
        slow.free.set()


class Bench:
    """A crew and what it works on."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.lanes = Lanes(MemoryStore(chance=lambda: 0.0), DueKind.SEND, clock=self.clock, sweep_seconds=1000.0)
        self.errors: dict[int, Exception] = {}
        self.done: list[int] = []
        self.hung = asyncio.Event()
        self.hanging: set[int] = set()
        self.crew = Crew(
            "dispatch",
            self.work,
            lanes=self.lanes,
            clock=self.clock,
            observer=self.observer,
            finished=lambda: None,
        )

    async def work(self, lane: int) -> None:
        """As the test has it."""
        if lane in self.hanging:
            await self.hung.wait()
        if lane in self.errors:
            raise self.errors[lane]
        self.done.append(lane)


async def test_a_lane_that_fails_waits_longer_each_time_and_alone() -> None:
    bench = Bench()
    bench.errors[1] = StoreUnavailable("The database is gone.")
    waits = []
    for _ in range(8):
        bench.crew.give([1, 2])
        await bench.clock.settle()
        waits.append(bench.lanes.seconds_until_next())
        await bench.clock.run(waits[-1])
        assert bench.lanes.take_due() == [1]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert bench.done == [2] * 8
    assert set(bench.observer.alerted()) == {"lane_failed"}


async def test_a_lane_that_is_given_before_its_wait_is_over_is_left_alone_until_then() -> None:
    bench = Bench()
    bench.errors[1] = RuntimeError("a bug of ours")
    bench.crew.give([1])
    await bench.clock.settle()
    bench.errors.clear()
    bench.lanes.take_due()
    bench.crew.give([1])
    await bench.clock.settle()
    assert (bench.done, bench.lanes.seconds_until_next()) == ([], 0.5)


async def test_draining_waits_for_what_is_under_way_and_begins_nothing_more() -> None:
    bench = Bench()
    bench.hanging = set(range(AT_ONCE_MAX))
    bench.crew.give(range(AT_ONCE_MAX + 3))
    await bench.clock.settle()
    draining = asyncio.create_task(bench.crew.drain())
    await bench.clock.run(1.0)
    assert not draining.done()
    bench.hung.set()
    await bench.clock.settle()
    assert draining.done()
    assert bench.done == list(range(AT_ONCE_MAX))
    assert bench.observer.alerts == []


async def test_draining_cancels_what_takes_too_long_and_says_so() -> None:
    bench = Bench()
    bench.hanging = {1}
    bench.crew.give([1])
    await bench.clock.settle()
    draining = asyncio.create_task(bench.crew.drain())
    await bench.clock.run(GRACE_SECONDS)
    assert draining.done()
    assert bench.observer.alerted() == ["lanes_cancelled"]


class SickStore(MemoryStore):
    """A store that cannot dispatch the lanes of `sick`."""

    def __init__(self) -> None:
        super().__init__(chance=lambda: 0.0)
        self.sick: set[int] = set()

    async def dispatch(self, dispatch: Dispatch, publish: Publish, now: int) -> Dispatched:
        if dispatch.lane in self.sick:
            raise RuntimeError("a bug of ours")
        return await super().dispatch(dispatch, publish, now)


async def test_a_topic_that_cannot_be_sent_stops_neither_the_others_nor_the_loop() -> None:
    store, broker = SickStore(), ScriptedBroker()
    async with world(broker, store) as w:
        await w.register()
        topic = store.catalog.topic(TOPIC)
        assert topic is not None
        store.sick = {topic.id}
        sick = await w.confirmed()
        await w.clock.run(20.0)
        fine = await w.confirmed(topic="other")
        await w.clock.settle()
        assert [each.id for each in broker.published] == [fine]
        assert "loop_failed" not in w.observer.alerted()
        store.sick.clear()
        await w.clock.run(15.0)
        assert [each.id for each in broker.published] == [fine, sick]
