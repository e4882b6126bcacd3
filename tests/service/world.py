"""A whole node on memory back ends and a clock that only the test moves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from aftercommit.brokers.memory import MemoryBroker
from aftercommit.domain.catalog import App
from aftercommit.domain.commands import CheckOutcome
from aftercommit.domain.message import Outcome
from aftercommit.ports.broker import Accepted, Answer, BrokerCapabilities, Outgoing, Route
from aftercommit.ports.checkback import Question, Verdict
from aftercommit.ports.store import Shared
from aftercommit.service.caller import Caller
from aftercommit.service.node import Backends, Chance, Node, Services, Timing
from aftercommit.stores.memory import MemoryStore
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver
from aftercommit.wire import AppRequest, PrepareRequest, PulledMessage, SubscriptionRequest, TopicRequest

TOPIC = "orders.created"
ORDERS = Caller("orders")
BILLING = Caller("billing")
OPERATOR = Caller("default", wide=True)
Answered = TypeVar("Answered")


class Initiator:
    """A scripted check-back: answers by id, `unknown` where nothing was scripted; may be unreachable."""

    def __init__(self) -> None:
        self.outcomes: dict[str, CheckOutcome] = {}
        self.reachable = True
        self.calls: list[list[Question]] = []

    async def ask(self, app: App, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question."""
        self.calls.append(list(questions))
        return [
            Verdict(
                id=each.id,
                outcome=self.outcomes.get(each.id, CheckOutcome.UNKNOWN) if self.reachable else CheckOutcome.UNKNOWN,
                made=self.reachable,
                detail=None if self.reachable else "connection refused",
            )
            for each in questions
        ]

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedBroker:
    """An outside broker: takes everything unless an answer is scripted for the next publish."""

    capabilities = BrokerCapabilities(store_backed=False, window_max=100)

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.answers: list[Answer] = []
        self.otherwise: Answer | None = None
        self.trouble: str | None = None
        self.declared: list[Route] = []
        self.opened = False

    async def open(self) -> None:
        """Nothing to connect to."""
        self.opened = True

    def declare(self, route: Route) -> None:
        """Remember it."""
        self.declared.append(route)

    async def publish(self, batch: Sequence[Outgoing]) -> list[Answer]:
        """Answer each message by the script."""
        answers: list[Answer] = []
        for outgoing in batch:
            answer = self.answers.pop(0) if self.answers else self.otherwise or Accepted()
            if isinstance(answer, Accepted):
                self.published.append(outgoing)
            answers.append(answer)
        return answers

    async def close(self) -> None:
        """Nothing to close."""


class World:
    """The node and everything around it. Ids made here are numbered, so that runs repeat."""

    def __init__(
        self,
        broker: ScriptedBroker | None = None,
        store: MemoryStore | None = None,
        shared: Shared | None = None,
        initiator: Initiator | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.initiator = initiator or Initiator()
        self.store = store or MemoryStore(chance=lambda: 0.0)
        self.broker = broker
        self._ids = 0
        built_in = MemoryBroker()
        self.node = Node(
            Backends(
                store=self.store,
                broker=broker or built_in,
                pulls=None if broker else built_in,
                checkback=self.initiator,
                clock=self.clock,
                observer=self.observer,
                shared=shared,
            ),
            Chance(draw=lambda: 0.0, new_id=self.new_id, new_secret=lambda: "whsec_" + "A" * 44),
            Timing(database_ms=self._database_ms, refresh=lambda _: 0, jumped=lambda: False),
            keyless=True,
            require_address=lambda _: None,
            rates=dict,
            address=lambda: "http://127.0.0.1:8340",
        )

    async def _database_ms(self) -> int:
        return self.clock.now()

    @property
    def services(self) -> Services:
        """The node's doors."""
        return self.node.services

    def new_id(self) -> str:
        """The next UUIDv7 of this world."""
        self._ids += 1
        made_at = f"{self.clock.now():012x}"
        return f"{made_at[:8]}-{made_at[8:]}-7000-8000-{self._ids:012x}"

    async def register(self, subscriptions: tuple[str, ...] = ("billing",), **policy: object) -> None:
        """The topic, with subscriptions owned by BILLING, and a check address for ORDERS."""
        listed = [SubscriptionRequest(name=each, app="billing") for each in subscriptions]
        request = TopicRequest(subscriptions=listed, policy=policy)
        await self.in_time(self.services.registry.put_topic(ORDERS, TOPIC, request))
        address = AppRequest(check_url="http://127.0.0.1:1/")
        await self.in_time(self.services.registry.put_app(ORDERS, "orders", address))

    async def in_time(self, call: Awaitable[Answered]) -> Answered:
        """What a call answers: at once, or else when as much time has passed as it takes, a second at most."""
        under_way = asyncio.ensure_future(call)
        await self.clock.settle()
        for _ in range(20):
            if not under_way.done():
                await self.clock.run(0.05)
        assert under_way.done()
        return await under_way

    async def prepare(self, **fields: object) -> str:
        """A prepared message of ORDERS; its id."""
        return (await self.prepare_outcome(**fields)).id

    async def prepare_outcome(self, **fields: object) -> Outcome:
        """What a prepare answered."""
        body = {"topic": TOPIC, "payload": {"order": 42}, **fields}
        request = msgspec.json.decode(msgspec.json.encode(body), type=PrepareRequest)
        return await self.services.intake.prepare(ORDERS, request, None)

    async def confirmed(self, **fields: object) -> str:
        """A confirmed message; its id."""
        message_id = await self.prepare(**fields)
        await self.services.intake.confirm(ORDERS, message_id)
        return message_id

    async def pull(self, limit: int = 10, subscription: str = "billing") -> list[PulledMessage]:
        """What BILLING gets without waiting."""
        return await self.services.pulling.pull(BILLING, TOPIC, subscription, limit, 0)

    async def status(self, message_id: str) -> str:
        """A message's status, as an operator sees it."""
        return (await self.services.inspection.get(OPERATOR, message_id)).status


@asynccontextmanager
async def world(
    broker: ScriptedBroker | None = None,
    store: MemoryStore | None = None,
    shared: Shared | None = None,
    initiator: Initiator | None = None,
) -> AsyncIterator[World]:
    """A running world; stopped in the end."""
    made = World(broker, store, shared, initiator)
    await made.store.open(made.clock.now())
    await made.node.start()
    await made.clock.settle()
    try:
        yield made
    finally:
        await made.node.stop()
        await made.node.close()
