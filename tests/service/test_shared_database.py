"""Two nodes in front of one PostgreSQL, on real clocks: what one does, the other knows in time."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from aftercommit.brokers.memory import MemoryBroker
from aftercommit.clocks import SystemClock, new_id, wall_ms
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.service.caller import Caller
from aftercommit.service.node import Backends, Chance, Node, Services, Timing
from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.testing.observer import RecordingObserver
from aftercommit.wire import PrepareRequest, SubscriptionRequest, TopicRequest
from tests.conformance.sql_places import Places, empty_places
from tests.servers.postgres import Postgres
from tests.service.world import BILLING, ORDERS, TOPIC, Initiator

SHOP = Caller("shop")


class SharedNode:
    """A node as it runs, but for its HTTP door and what it asks."""

    def __init__(self, address: Address, name: str) -> None:
        self.clock = SystemClock()
        self.observer = RecordingObserver()
        self.store = SqlStore(address, chance=random.Random(name).random)
        broker = MemoryBroker()
        self.node = Node(
            Backends(
                store=self.store,
                broker=broker,
                pulls=broker,
                checkback=Initiator(),
                clock=self.clock,
                observer=self.observer,
                shared=self.store,
            ),
            Chance(draw=random.Random(name).random, new_id=new_id, new_secret=lambda: "whsec_" + "A" * 44),
            Timing(database_ms=self.store.clock_ms, refresh=self.clock.refresh, jumped=lambda: self.clock.jumped),
            keyless=True,
            require_address=lambda _: None,
            rates=dict,
            address=lambda: f"http://{name}:8340",
        )

    @property
    def services(self) -> Services:
        """Its doors."""
        return self.node.services

    async def prepare(self, topic: str = TOPIC, caller: Caller = ORDERS) -> str:
        """A prepared message; its id."""
        request = msgspec.json.decode(msgspec.json.encode({"topic": topic, "payload": 1}), type=PrepareRequest)
        return (await self.services.intake.prepare(caller, request, None)).id

    async def register(self, topic: str = TOPIC) -> None:
        """A topic that billing listens to."""
        listed = [SubscriptionRequest(name="billing", app="billing")]
        await self.services.registry.put_topic(ORDERS, topic, TopicRequest(subscriptions=listed))

    def pull(self, topic: str = TOPIC, wait_seconds: float = 10) -> "asyncio.Task[list[str]]":
        """The ids of what billing gets."""

        async def pull() -> list[str]:
            return [each.id for each in await self.services.pulling.pull(BILLING, topic, "billing", 10, wait_seconds)]

        return asyncio.create_task(pull())


@asynccontextmanager
async def running(address: Address, name: str) -> AsyncIterator[SharedNode]:
    """A node from its start to its end."""
    made = SharedNode(address, name)
    await made.store.open(wall_ms())
    await made.node.take_time()
    await made.node.start()
    try:
        yield made
    finally:
        await made.node.stop()
        await made.node.close()


@pytest.fixture(scope="module")
def places(postgres: Postgres) -> Iterator[Places]:
    """A database for this module."""
    yield from empty_places(postgres.database())


@pytest.fixture
def address(places: Places) -> Address:
    """The database, empty."""
    return places.empty()


@pytest.fixture
async def nodes(address: Address) -> AsyncIterator[tuple[SharedNode, SharedNode]]:
    """Two nodes."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(address, "one"))
        two = await stack.enter_async_context(running(address, "two"))
        await one.register()
        yield one, two
        for each in (one, two):
            assert [detail for name, detail, _ in each.observer.alerts if name in ("loop_failed", "lane_failed")] == []


@asynccontextmanager
async def locked(address: Address, message_id: str) -> AsyncIterator[None]:
    """Somebody else holds the message's row."""
    session = await backend_for(address).connector(30.0)()
    await session.begin()
    try:
        found = await session.rows(f"SELECT id FROM message WHERE id = '{message_id}' FOR UPDATE")
        assert len(found) == 1
        yield
    finally:
        session.terminate()


async def test_a_consumer_waiting_at_one_node_gets_what_is_confirmed_at_the_other(
    nodes: tuple[SharedNode, SharedNode],
) -> None:
    one, two = nodes
    waiting = two.pull()
    message_id = await one.prepare()
    await one.services.intake.confirm(ORDERS, message_id)
    async with asyncio.timeout(1.0):
        assert await waiting == [message_id]
    assert (await one.services.reports.complete(BILLING, message_id, "billing")).status is Status.COMPLETED


async def test_what_is_registered_at_one_node_may_be_used_at_the_other_at_once(
    nodes: tuple[SharedNode, SharedNode],
) -> None:
    one, two = nodes
    for number in range(5):
        topic = f"topic.{number}"
        await one.register(topic)
        assert await two.pull(topic, wait_seconds=0) == []
        message_id = await one.prepare(topic, SHOP)
        assert (await two.services.intake.confirm(SHOP, message_id)).changed


async def test_a_topic_resumed_at_one_node_goes_on_at_the_other(nodes: tuple[SharedNode, SharedNode]) -> None:
    one, two = nodes
    await one.services.registry.pause(TOPIC)
    message_id = await one.prepare()
    await one.services.intake.confirm(ORDERS, message_id)
    assert await two.pull(wait_seconds=0) == []
    waiting = two.pull()
    await one.services.registry.resume(TOPIC)
    async with asyncio.timeout(3.0):
        assert await waiting == [message_id]


async def test_a_locked_message_is_busy_after_two_seconds_and_holds_up_nobody(
    nodes: tuple[SharedNode, SharedNode], address: Address
) -> None:
    one, _ = nodes
    held, free = await one.prepare(), await one.prepare()
    began = one.clock.monotonic()
    async with locked(address, held):
        stuck = asyncio.create_task(one.services.intake.confirm(ORDERS, held))
        async with asyncio.timeout(1.0):
            assert (await one.services.intake.confirm(ORDERS, free)).changed
        async with asyncio.timeout(4.0):
            outcome = await stuck
    assert (outcome.refusal, outcome.status) == (Refusal.BUSY, Status.PENDING_CONFIRMATION)
    assert one.clock.monotonic() - began >= 2.0
    assert (await one.services.intake.confirm(ORDERS, held)).changed


async def test_nodes_know_of_each_other_until_one_stops(address: Address) -> None:
    async with running(address, "one") as one:
        async with running(address, "two"), asyncio.timeout(10.0):
            while len(names := await _names(one)) < 2:
                await one.clock.wait(asyncio.Event(), 0.1)
            assert names == ["http://one:8340", "http://two:8340"]
        assert await _names(one) == ["http://one:8340"]


async def _names(node: SharedNode) -> list[str]:
    _, report = await node.services.readiness.report(nodes=True)
    return sorted(each["address"] for each in report["nodes"])
