"""The order service's database: orders, what was declined, and the barrier. What it says survives `kill -9`."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aftercommit.cli.demo import barrier
from aftercommit.cli.demo.barrier import AlreadyDecided
from aftercommit.cli.demo.database import connect, create, transaction
from aftercommit.domain.commands import CheckOutcome

SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS orders (
    number       INTEGER PRIMARY KEY,
    message_id   TEXT NOT NULL UNIQUE,
    item         TEXT NOT NULL,
    quantity     INTEGER NOT NULL,
    confirm_lost INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS declined (
    number     INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS incidents (
    message_id TEXT NOT NULL,
    what       TEXT NOT NULL
);
{barrier.SCHEMA}"""
_ENDED: Final = "SELECT number FROM orders UNION SELECT number FROM declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order to be placed. `confirm_lost` is kept with it only to be counted in the end."""

    number: int
    item: str
    quantity: int
    confirm_lost: bool


class Declined(Exception):
    """The order was rolled back on purpose."""


class OrderBook:
    """The writing side, for one thread."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)

    def place(self, message_id: str, order: Order, *, declined: bool, slow_seconds: float) -> None:
        """The local transaction: the marker first, then the order.

        Raises `Declined` or `AlreadyDecided` after it was rolled back. `slow_seconds` are spent with it open.
        """
        with transaction(self._connection):
            barrier.mark(self._connection, message_id, CheckOutcome.COMMITTED)
            self._connection.execute(
                "INSERT INTO orders (number, message_id, item, quantity, confirm_lost) VALUES (?, ?, ?, ?, ?)",
                (order.number, message_id, order.item, order.quantity, order.confirm_lost),
            )
            time.sleep(slow_seconds)
            if declined:
                raise Declined

    def decline(self, message_id: str, number: int) -> CheckOutcome:
        """Barrier first: rule the transaction out before anybody is told. Returns what the marker says in the end."""
        outcome = CheckOutcome.ROLLED_BACK
        try:
            with transaction(self._connection):
                barrier.mark(self._connection, message_id, outcome)
        except AlreadyDecided as decided:
            outcome = decided.outcome
        if outcome is CheckOutcome.ROLLED_BACK:
            with transaction(self._connection):
                self._connection.execute("INSERT INTO declined VALUES (?, ?)", (number, message_id))
        return outcome

    def note_incident(self, message_id: str, what: str) -> None:
        """Keep what the node must never say, for the reconciliation."""
        with transaction(self._connection):
            self._connection.execute("INSERT INTO incidents VALUES (?, ?)", (message_id, what))


def open_numbers(path: Path, orders: int) -> list[int]:
    """Make the database if need be, and say which order numbers have no known end.

    A unit of work that `kill -9` interrupted has either its order here, or can never commit any more: its process is
    dead. So its number is tried anew under a new id, and the check-back finds out about the old one.
    """
    create(path, SCHEMA)
    with closing(connect(path)) as connection:
        ended = {number for (number,) in connection.execute(_ENDED)}
    return [number for number in range(1, orders + 1) if number not in ended]
