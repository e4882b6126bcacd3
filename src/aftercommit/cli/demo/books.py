"""Reading the stores: a few figures while the demo runs, everything when it is over."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from aftercommit.cli.demo.check_server import LETTERS
from aftercommit.cli.demo.database import connect, connect_to_read, create
from aftercommit.cli.demo.order_book import SCHEMA as ORDER_SCHEMA
from aftercommit.cli.demo.reconciliation import Books
from aftercommit.cli.demo.scene import STOCK_AT_FIRST, Scene
from aftercommit.cli.demo.stock_service import SCHEMA as STOCK_SCHEMA
from aftercommit.cli.demo.tally import Tally
from aftercommit.domain.commands import CheckOutcome
from aftercommit.domain.lifecycle import Status

_ORDER_FIGURES: Final = """
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM declined),
       (SELECT count(*) FROM orders WHERE confirm_lost)
"""
_STOCK_FIGURES: Final = "SELECT count(*) FROM aftercommit_inbox"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How far the demo is. `committed` and `declined` are orders; `checks` counts single answers by outcome."""

    committed: int = 0
    declined: int = 0
    confirms_lost: int = 0
    delivered: int = 0
    checks: dict[str, int] = {}
    duplicates: int = 0
    reports_lost: int = 0

    @property
    def placed(self) -> int:
        """Orders that came to a known end."""
        return self.committed + self.declined


def read_figures(scene: Scene, before: Figures) -> Figures:
    """The figures now; where a database cannot be read at this moment, as they were before."""
    old_orders = (before.committed, before.declined, before.confirms_lost)
    committed, declined, confirms_lost = _row(scene.order_database, _ORDER_FIGURES) or old_orders
    (delivered,) = _row(scene.stock_database, _STOCK_FIGURES) or (before.delivered,)
    letters = Tally(scene.checks_tally).read()
    return Figures(
        committed=committed,
        declined=declined,
        confirms_lost=confirms_lost,
        delivered=delivered,
        checks={outcome.value: letters[letter] for outcome, letter in LETTERS.items()},
        duplicates=Tally(scene.duplicates_tally).read().total(),
        reports_lost=Tally(scene.reports_lost_tally).read().total(),
    )


def read_books(scene: Scene, messages: Mapping[str, Status]) -> Books:
    """Everything the services wrote, next to what the node said of its messages. The services must have ended."""
    # A service that failed to start has left no tables; its books are empty then, not unreadable.
    create(scene.order_database, ORDER_SCHEMA)
    create(scene.stock_database, STOCK_SCHEMA)
    with closing(connect(scene.order_database)) as orders, closing(connect(scene.stock_database)) as stock:
        return Books(
            planned=frozenset(range(1, scene.orders + 1)),
            orders=dict(orders.execute("SELECT message_id, number FROM orders")),
            declined=frozenset(number for (number,) in orders.execute("SELECT number FROM declined")),
            markers={
                message_id: CheckOutcome(outcome)
                for message_id, outcome in orders.execute("SELECT message_id, outcome FROM aftercommit_outcome")
            },
            effects=stock.execute("SELECT message_id, order_number FROM stock_effects").fetchall(),
            inbox=frozenset(each for (each,) in stock.execute("SELECT message_id FROM aftercommit_inbox")),
            messages=messages,
            ordered=dict(orders.execute("SELECT item, sum(quantity) FROM orders GROUP BY item")),
            taken=dict(stock.execute("SELECT item, ? - quantity FROM stock", (STOCK_AT_FIRST,))),
            incidents=[*_incidents(orders), *_incidents(stock)],
        )


def _incidents(connection: sqlite3.Connection) -> list[str]:
    return [f"{what} (message {message_id})" for message_id, what in connection.execute("SELECT * FROM incidents")]


def _row(path: Path, statement: str) -> tuple[Any, ...] | None:
    """One row; None while the database is not made yet, or its service was killed and has not repaired it yet."""
    try:
        with closing(connect_to_read(path)) as connection:
            row: tuple[Any, ...] = connection.execute(statement).fetchone()
            return row
    except sqlite3.OperationalError:
        return None
