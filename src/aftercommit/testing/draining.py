"""Delivering to a consumer until nothing is due: what a consumer's runtime does, without a runtime."""

import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from aftercommit import wire
from aftercommit.sdk.clients import calls
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from aftercommit.sdk.errors import Refused
from aftercommit.sdk.messages import PulledMessage
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing.faults import Faults
from aftercommit.testing.inside import URL, Inside

PULL_MAX: Final = 100
# Each message is delivered once per drain; more than this is a handler that publishes what it consumes, for ever.
DELIVERIES_MAX: Final = 10_000


@runtime_checkable
class Receiver(Protocol):
    """Whole consumers: whatever works and reports by itself, one delivery at a time. The SDK's own two are such.

    class Billing:
        subscriptions = [("orders.created", "billing")]

        def receive(self, delivery, subscription):
            client.complete(delivery.id, subscription)
            return Receipt.COMPLETED

    assert service.drain(Billing()).counts == {"completed": 1}
    """

    @property
    def subscriptions(self) -> Iterable[tuple[str, str]]:
        """What it consumes: pairs of a topic and the name of a subscription."""

    def receive(self, delivery: Delivery, subscription: str, /) -> Receipt | Awaitable[Receipt]:
        """Do the work, report it, and say what became of it. An exception leaves the drain."""


# May be a coroutine function; may return a `Fail`, a `RetryLater` or a `Receipt`.
Handler: TypeAlias = Callable[[PulledMessage], Any]


@dataclass(slots=True)
class Drained:
    """What a drain did: how many deliveries came to what, and what a plain handler raised, with the message's id.

    drained = service.drain(bill, topic="orders.created", subscription="billing")
    assert (drained.counts, drained.errors) == ({"completed": 1}, [])
    """

    counts: dict[str, int] = field(default_factory=dict)
    errors: list[tuple[str, Exception]] = field(default_factory=list)

    def describe(self) -> str:
        """In words, with the last error."""
        done = ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "nothing was due"
        if not self.errors:
            return done
        message_id, error = self.errors[-1]
        return f"{done}; the last error, on {message_id}:\n{''.join(traceback.format_exception(error))}"


class PlainHandler:
    """A `Receiver` around a function of the user's: no inbox, every point of a delivery passed.

    A handler that returns a `Receipt` (an inbox does) has reported by itself.
    """

    def __init__(
        self, handler: Handler, subscriptions: Iterable[tuple[str, str, str]], *, inside: Inside, faults: Faults
    ) -> None:
        self._handler = handler
        self._owners = {(topic, name): app for topic, name, app in subscriptions}
        self._inside = inside
        self._faults = faults
        self.errors: list[tuple[str, Exception]] = []

    @property
    def subscriptions(self) -> Iterable[tuple[str, str]]:
        """Those it was given."""
        return self._owners

    async def receive_pulled(self, message: PulledMessage, subscription: str) -> Receipt:
        """Work, then report; an exception is no report."""
        self._faults.probe(Point.BEFORE_WORK)
        try:
            result = await self._inside.caller.drive(self._handler(message))
            if isinstance(result, Fail | RetryLater):
                raise result
        except Fail as refusal:
            await self._report(calls.fail(message.id, refusal.reason, subscription), message.topic, subscription)
            return Receipt.FAILED
        except Exception as error:
            self.errors.append((message.id, error))
            return Receipt.RETRY_LATER
        if isinstance(result, Receipt):
            return result
        self._faults.probe(Point.AFTER_WORK)
        self._faults.probe(Point.BEFORE_REPORT)
        await self._report(calls.complete(message.id, subscription), message.topic, subscription)
        self._faults.probe(Point.AFTER_REPORT)
        return Receipt.COMPLETED

    async def _report(self, report: calls.Call[wire.MessageStatus], topic: str, subscription: str) -> None:
        request = Request(report.method, URL + report.path, {}, report.body, 0.0)
        try:
            self._faults.before(request)
            await self._inside.make(report, self._owners[topic, subscription])
            self._faults.after(request)
        except (NoAnswer, Refused) as error:
            # As with every consumer: without an answer the message comes again, and a refusal is final.
            self.errors.append((message_of(report), error))


async def drain(receiver: Receiver | PlainHandler, inside: Inside) -> Drained:
    """Deliver everything that is due to the receiver, also what becomes due by it, without moving time."""
    counts = Counter[str]()
    wanted = [(topic, name, app) for t, n in receiver.subscriptions for topic, name, app in inside.node.owners(t, n)]
    found = True
    while found:
        found = False
        for topic, name, app in wanted:
            for message in (await inside.make(calls.pull(topic, name, PULL_MAX), app)).messages:
                found = True
                if isinstance(receiver, PlainHandler):
                    receipt = await receiver.receive_pulled(message, name)
                else:
                    receipt = await inside.caller.drive(receiver.receive(Delivery.pulled(message), name))
                counts[receipt.value] += 1
        if counts.total() > DELIVERIES_MAX:
            raise AssertionError(f"After {counts.total()} deliveries there are still more: does it publish to itself?")
    return Drained(dict(counts), receiver.errors if isinstance(receiver, PlainHandler) else [])


def message_of(report: calls.Call[wire.MessageStatus]) -> str:
    """The id in the path of a verb on one message."""
    return report.path.split("/")[3]
