"""The service for tests: the real state machine and the real API in the test's own process, without a socket."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from aftercommit import wire
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.clients import operations
from aftercommit.sdk.clients.async_client import AsyncClient
from aftercommit.sdk.clients.client import Client
from aftercommit.sdk.messages import StoredMessage
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import checking, expectations
from aftercommit.testing.callers import AsyncCaller, BlockingCaller, Caller, Errands, require_no_errand
from aftercommit.testing.checkback import AnsweredCheck, CheckFunction, CheckSource, InProcessCheckback
from aftercommit.testing.consistency import Claims, Committed, Effects, find_offences, heal, report, unit_of
from aftercommit.testing.draining import Drained, Handler, PlainHandler, Receiver, drain
from aftercommit.testing.expectations import ANYTHING, Anything, Expectation
from aftercommit.testing.faults import Crash, Faults, LostAnswers
from aftercommit.testing.inside import URL, Inside
from aftercommit.testing.loop_thread import LoopThread
from aftercommit.testing.memory_node import MemoryNode
from aftercommit.testing.transports import AsyncInMemoryTransport, InMemoryTransport, Patience, Wire

CHECK_URL: Final = "http://localhost/checks"


class InMemoryService:
    """A whole AfterCommit service for one test. Use it in a `with`, or take the fixture `aftercommit`.

    Its time stands still but for `advance`. Its clients work from every thread and every loop; a client's pauses
    between repeats cost no time. What waits for the service (`advance`, `run_checks`, `drain`, `assert_consistent`)
    runs the test's own code, such as answers to checks, in the calling thread; where that code is `async`, use the
    same method with `_async` at its end, from the loop that the code belongs to.

        with InMemoryService() as service:
            client = service.client(app="orders")
            message = client.prepare("orders.created", {"order": 42}, key="42")
            service.refute_published("orders.created")
            client.confirm(message.id)
            service.assert_published("orders.created", payload={"order": 42}, key="42", count=1)
            assert service.drain(print).counts == {"completed": 1}
    """

    def __init__(self) -> None:
        self._thread = LoopThread("aftercommit in memory")
        self._errands = Errands()
        self._faults = Faults()
        self._checkback = InProcessCheckback(self._errands, lambda: self._faults.process_is_dead)
        self._node = MemoryNode(self._thread, self._errands, self._checkback)
        self._wire = Wire(self._thread, self._node, self._faults)
        self._blocking = BlockingCaller(self._thread, self._errands)
        self._awaiting = AsyncCaller(self._thread, self._errands)

    def start(self) -> Self:
        """Start the thread it lives in. Once; `with` does it."""
        self._thread.start()
        try:
            run_now(self._blocking.result_of(self._node.start()))
        except BaseException:
            self._thread.stop()
            raise
        return self

    def stop(self) -> None:
        """End it and forget everything. Clients get `Unreachable` from here on. May be called twice."""
        if self._thread.running:
            try:
                run_now(self._blocking.result_of(self._node.stop()))
            finally:
                self._thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Clients.

    def client(self, app: str = "orders", **options: Any) -> Client:
        """A client of this service, for the application `app`. `options` are those of `Client`."""
        patience = Patience()
        seams: dict[str, Any] = {
            "transport": self.transport(),
            "sleep": patience.sleep,
            "clock": patience.clock,
            "probe": self.probe,
        }
        seams.update(options)
        return Client(URL, app=app, **seams)

    def async_client(self, app: str = "orders", **options: Any) -> AsyncClient:
        """The same for asyncio, on any loop."""
        patience = Patience()
        seams: dict[str, Any] = {
            "transport": self.async_transport(),
            "sleep": patience.sleep_async,
            "clock": patience.clock,
            "probe": self.probe,
        }
        seams.update(options)
        return AsyncClient(URL, app=app, **seams)

    def transport(self) -> InMemoryTransport:
        """For a `Client` that the code under test makes itself: `Client(transport=service.transport())`."""
        return InMemoryTransport(self._wire, self._blocking)

    def async_transport(self) -> AsyncInMemoryTransport:
        """For an `AsyncClient` that the code under test makes itself."""
        return AsyncInMemoryTransport(self._wire, self._awaiting)

    def probe(self, point: Point) -> None:
        """What the clients call at each point of a transaction or a delivery; see `crash_at`."""
        self._faults.probe(point)

    # Time.

    @property
    def now(self) -> datetime:
        """The service's time: the real one when it was made, plus everything advanced."""
        return datetime.fromtimestamp(self._node.clock.now() / 1000, UTC)

    def advance(self, seconds: float | timedelta) -> None:
        """Move time on. Returns when everything that got due by it is done: sent, checked, parked, forgotten.

        Ids are made by the real time and may be seven days old: after a longer advance give new messages ids of
        your own, or use another service.
        """
        run_now(self._advance(self._blocking, seconds))

    async def advance_async(self, seconds: float | timedelta) -> None:
        """`advance`, awaited."""
        await self._advance(self._awaiting, seconds)

    # Topics and checks.

    def subscribe(self, topic: str, *subscriptions: str, app: str = "default", **policy: Any) -> wire.TopicAnswer:
        """Make the topic if it is not there, and add subscriptions of `app`; `policy` is the topic's.

        A topic without any delivers to one named `default`, of the application that made the topic.

            service.subscribe("orders.created", "billing", app="billing", redelivery_seconds=[1, 10])
        """
        return run_now(self._subscribe(topic, subscriptions, app, policy))

    def answer_checks_with(self, source: CheckSource | CheckFunction, app: str = "orders") -> None:
        """Ask `source` what became of the transactions of `app`: a barrier, an object with `check`, or a function.

        It gets a list of `wire.Check` and returns outcomes by id, awaited if need be. What it raises, and what it
        leaves out, is `unknown`; see `checks`.

            service.answer_checks_with(Barrier(engine))
            service.answer_checks_with(lambda checks: {each.id: Outcome.COMMITTED for each in checks})
        """
        self._checkback.answer_with(source, app)
        run_now(Inside(self._node, self._blocking).make(operations.put_app(app, CHECK_URL, check_signed=False)))

    def run_checks(self) -> dict[str, int]:
        """Move time on until every message that waits for its confirmation was asked about; counts by outcome.

        Raises AssertionError if nobody answers for the application of one of them.
        """
        return run_now(self._run_checks(self._blocking))

    async def run_checks_async(self) -> dict[str, int]:
        """`run_checks`, awaited."""
        return await self._run_checks(self._awaiting)

    @property
    def checks(self) -> list[AnsweredCheck]:
        """Every check asked so far, with its outcome, and with the error where the source raised one."""
        return list(self._checkback.asked)

    @property
    def alerts(self) -> list[tuple[str, str]]:
        """What an operator would have been alerted to, in order: names and sentences."""
        return [(name, detail) for name, detail, _ in self._node.observer.alerts]

    # Looking.

    def messages(self, topic: str | None = None, status: str | None = None) -> list[StoredMessage]:
        """Messages of every application, in the order they were prepared, with payload, deliveries and timeline."""
        found = run_now(Inside(self._node, self._blocking).messages())
        return [each for each in found if topic in (None, each.topic) and status in (None, each.status)]

    def statuses(self, topic: str | None = None) -> dict[str, int]:
        """How many messages are in each status that there is one of."""
        return dict(Counter(each.status for each in self.messages(topic)))

    def assert_published(
        self,
        topic: str,
        *,
        payload: Any = ANYTHING,
        key: Any = ANYTHING,
        headers: Mapping[str, Any] | Anything = ANYTHING,
        count: int | None = None,
    ) -> list[StoredMessage]:
        """Published is what was confirmed, so that it is delivered. Returns those that match, at least one or `count`.

        `payload`, `key` and each of `headers` are values, or functions that accept a value:

            service.assert_published("orders.created", key="42", payload=lambda order: order["total"] > 0)
        """
        expected = Expectation(topic=topic, payload=payload, key=key, headers=headers)
        return expectations.require_published(self.messages(), expected, count)

    def refute_published(
        self,
        topic: str,
        *,
        payload: Any = ANYTHING,
        key: Any = ANYTHING,
        headers: Mapping[str, Any] | Anything = ANYTHING,
    ) -> None:
        """No message that matches was published. What is only prepared, or rolled back, was not."""
        expected = Expectation(topic=topic, payload=payload, key=key, headers=headers)
        expectations.refuse_published(self.messages(), expected)

    def assert_settled(self) -> None:
        """Nothing is left to do: no message is live, and none is parked."""
        expectations.require_settled(self.messages())

    # Consumers.

    def drain(
        self, consumer: Receiver | Handler, *, topic: str | None = None, subscription: str | None = None
    ) -> Drained:
        """Deliver everything that is due, until nothing is; `counts` by outcome. Time does not move: see `advance`.

        A function gets each `PulledMessage` of the subscriptions meant (default: of all): return is `completed`,
        `Fail` is `failed`, any other exception is `retry_later` and kept in `errors`. A consumer has its own
        subscriptions.

            assert service.drain(bill, topic="orders.created", subscription="billing").counts == {"completed": 1}
        """
        inside = Inside(self._node, self._blocking)
        return run_now(drain(self._receiver(inside, consumer, topic=topic, subscription=subscription), inside))

    async def drain_async(
        self, consumer: Receiver | Handler, *, topic: str | None = None, subscription: str | None = None
    ) -> Drained:
        """`drain`, awaited."""
        inside = Inside(self._node, self._awaiting)
        return await drain(self._receiver(inside, consumer, topic=topic, subscription=subscription), inside)

    # Things that go wrong.

    def crash_at(self, point: Point) -> Crash:
        """A `with` block in which the process dies at `point`: see `Crash`, and `CRASH_POINTS` for all of them.

        From there to the end of the block no request of any client of this service arrives: nothing can be confirmed,
        cancelled or reported. After it the process counts as started again.

            with service.crash_at(Point.AFTER_COMMIT) as crash:
                pay(42)
            assert crash.happened
        """
        return Crash(Point(point), self._faults)

    def lose_answers(self, verb: str | None = None, times: int | None = None) -> AbstractContextManager[LostAnswers]:
        """A block in which requests have their effect, and the answers to `verb` are lost, the first `times` of them.

        Clients repeat what they may; give `times=1` to see the repeat succeed. Raises ValueError for no verb.
        """
        return self._faults.losing_answers(verb, times)

    def unreachable(self) -> AbstractContextManager[None]:
        """A block in which no request arrives."""
        return self._faults.unreachable()

    # The promise.

    def assert_consistent(
        self,
        topic: str | None = None,
        *,
        committed: Committed,
        effects: Effects | None = None,
        consumer: Receiver | Handler | None = None,
        subscription: str | None = None,
        unit: Callable[[StoredMessage], str] = unit_of,
    ) -> None:
        """Let everything heal, then assert: delivered if and only if committed, and each effect exactly once.

        Healing is time (up to three days of it): checks are asked, and with `consumer` (a function: for the given
        `subscription`, or for all of the topic) deliveries are made and repeated.

        `committed`: the units of work that committed, as the business tables say, or a function that tells it of a
        message. A message belongs to the unit its key names (`unit` for another rule). `effects`: how often the
        consumer's effect happened, per unit, looked at after healing.

        The AssertionError lists phantoms, losses, duplicates, missing effects, and what nobody could decide.

            service.assert_consistent(
                "orders.created", committed={str(order.id) for order in orders(session)}, effects=bills, consumer=bill
            )
        """
        inside = Inside(self._node, self._blocking)
        receiver = self._judged(inside, consumer, topic=topic, subscription=subscription)
        run_now(self._require_consistent(inside, Claims(topic, committed, effects, unit), receiver))

    async def assert_consistent_async(
        self,
        topic: str | None = None,
        *,
        committed: Committed,
        effects: Effects | None = None,
        consumer: Receiver | Handler | None = None,
        subscription: str | None = None,
        unit: Callable[[StoredMessage], str] = unit_of,
    ) -> None:
        """`assert_consistent`, awaited."""
        inside = Inside(self._node, self._awaiting)
        receiver = self._judged(inside, consumer, topic=topic, subscription=subscription)
        await self._require_consistent(inside, Claims(topic, committed, effects, unit), receiver)

    # One core for both kinds of callers.

    async def _advance(self, caller: Caller, seconds: float | timedelta) -> None:
        require_no_errand("Moving time")
        length = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if length < 0:
            raise ValueError(f"Time cannot be moved by {length} seconds: it only goes forward.")
        await caller.result_of(self._node.advance(length), errands=True)

    async def _run_checks(self, caller: Caller) -> dict[str, int]:
        require_no_errand("Running checks")
        return await checking.run_checks(Inside(self._node, caller), self._checkback)

    async def _subscribe(
        self, topic: str, names: Sequence[str], app: str, policy: Mapping[str, Any]
    ) -> wire.TopicAnswer:
        inside = Inside(self._node, self._blocking)
        known = [each for each in (await inside.make(operations.topics())).topics if each.topic == topic]
        kept = [each for one in known for each in one.subscriptions if not each.implicit and each.name not in names]
        listed = [wire.SubscriptionRequest(name=each.name, app=each.app) for each in kept]
        listed += [wire.SubscriptionRequest(name=each, app=app) for each in names]
        # A policy that is not given stays as it is.
        return await inside.make(operations.put_topic(topic, {"subscriptions": listed, "policy": dict(policy) or None}))

    def _receiver(
        self, inside: Inside, consumer: Receiver | Handler, *, topic: str | None, subscription: str | None
    ) -> Receiver | PlainHandler:
        require_no_errand("Delivering")
        if isinstance(consumer, Receiver):
            if topic is not None or subscription is not None:
                raise TypeError("A consumer knows its own subscriptions: leave topic and subscription out.")
            return consumer
        if not callable(consumer):
            raise TypeError(f"{consumer!r} can receive nothing: give a consumer, or a function of a message.")
        return PlainHandler(consumer, self._node.owners(topic, subscription), inside=inside, faults=self._faults)

    def _judged(
        self, inside: Inside, consumer: Receiver | Handler | None, *, topic: str | None, subscription: str | None
    ) -> Receiver | PlainHandler | None:
        require_no_errand("Asserting consistency")
        if consumer is None:
            return None
        # The topic says which messages are judged, also where a consumer listens to more.
        of_handler = None if isinstance(consumer, Receiver) else topic
        return self._receiver(inside, consumer, topic=of_handler, subscription=subscription)

    async def _require_consistent(
        self, inside: Inside, claims: Claims, receiver: Receiver | PlainHandler | None
    ) -> None:
        if self._faults.present:
            raise RuntimeError("A crash, lost answers or an unreachable service still last: assert after their blocks.")
        drained = await heal(inside, receiver)
        messages = [each for each in await inside.messages() if claims.topic in (None, each.topic)]
        offences = find_offences(messages, claims)
        if offences:
            raise AssertionError(report(offences, messages, drained=drained, checkback=self._checkback))
