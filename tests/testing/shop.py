"""A shop as users write it: orders in SQLite, a message for each, and publishers with planted bugs."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

from aftercommit.sdk import Client, PulledMessage, Unreachable, new_id
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import InMemoryService
from aftercommit.wire import Check

TOPIC = "orders.created"


class Declined(Exception):
    """The order cannot be."""


class Shop:
    """Prepares, commits, confirms. Subclasses do it wrong. The points are passed as the SDK's transaction does."""

    def __init__(self, service: InMemoryService) -> None:
        self.service = service
        self.client: Client = service.client(app="orders")
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.execute("CREATE TABLE orders (number TEXT PRIMARY KEY, message_id TEXT)")
        self.billed: Counter[str] = Counter()

    @property
    def committed(self) -> set[str]:
        """What the business tables say."""
        return {number for (number,) in self.database.execute("SELECT number FROM orders")}

    def order(self, number: str, *, declined: bool = False) -> None:
        """One unit of work. Raises Declined, and what the client raises before COMMIT."""
        message_id = new_id()
        self.service.probe(Point.BEFORE_PREPARE)
        self.client.prepare(TOPIC, {"order": number}, key=number, id=message_id)
        self.service.probe(Point.AFTER_PREPARE)
        try:
            self.write(number, message_id, declined=declined)
        except Declined:
            self.client.cancel(message_id)
            raise
        self.service.probe(Point.AFTER_COMMIT)
        self.confirm(message_id)
        self.service.probe(Point.AFTER_SEND)

    def write(self, number: str, message_id: str, *, declined: bool) -> None:
        """The local transaction."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            self.database.execute("INSERT INTO orders VALUES (?, ?)", (number, message_id))
            if declined:
                raise Declined(number)
            self.service.probe(Point.BEFORE_COMMIT)
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def confirm(self, message_id: str) -> None:
        """A confirm that fails is left to check-back."""
        try:
            self.client.confirm(message_id)
        except Unreachable as error:
            self.unconfirmed = error

    def check(self, checks: Sequence[Check]) -> dict[str, Outcome]:
        """Nothing runs beside this thread: what is not there can never commit."""
        there = {each for (each,) in self.database.execute("SELECT message_id FROM orders")}
        return {each.id: Outcome.COMMITTED if each.id in there else Outcome.ROLLED_BACK for each in checks}

    def bill(self, message: PulledMessage) -> None:
        """The consumer, idempotent by its own means."""
        assert message.key is not None
        self.billed[message.key] = 1


class PublishesEarly(Shop):
    """Sends before its transaction is decided."""

    def order(self, number: str, *, declined: bool = False) -> None:
        """Wrong."""
        message_id = self.client.prepare(TOPIC, {"order": number}, key=number, confirmed=True).id
        self.write(number, message_id, declined=declined)


class PublishesLate(Shop):
    """Sends after COMMIT, without preparing."""

    def order(self, number: str, *, declined: bool = False) -> None:
        """Wrong."""
        self.write(number, new_id(), declined=declined)
        self.service.probe(Point.AFTER_COMMIT)
        self.client.prepare(TOPIC, {"order": number}, key=number, confirmed=True)


class Forgets(Shop):
    """Prepares and never says more; its checks answer that nothing is known."""

    def confirm(self, message_id: str) -> None:
        """Wrong."""

    def check(self, checks: Sequence[Check]) -> dict[str, Outcome]:
        """Wrong."""
        return {}


class BillsTwice(Shop):
    """Counts every attempt."""

    def bill(self, message: PulledMessage) -> None:
        """Wrong."""
        assert message.key is not None
        self.billed[message.key] += 1
        if message.attempt == 1:
            raise ConnectionError("the answer of the bank was lost")
