"""The consumer: takes what was ordered from the stock, each order once, and reports.

`python -m aftercommit.cli.demo.stock_service SCENE` (JSON)
"""

import sqlite3
import sys
from contextlib import closing
from typing import Final

import msgspec

from aftercommit.cli.demo import chance
from aftercommit.cli.demo.database import connect, create, transaction
from aftercommit.cli.demo.patience import CALL_TIMEOUT_SECONDS, insist
from aftercommit.cli.demo.scene import ITEMS, STOCK, STOCK_AT_FIRST, SUBSCRIPTION, TOPIC, Scene
from aftercommit.cli.demo.tally import Tally
from aftercommit.sdk import Client, Conflict, NotFound, PulledMessage

PULL_MAX: Final = 10
PULL_WAIT_SECONDS: Final = 2.0

# `stock_effects` has no key on purpose: if the inbox failed, the reconciliation must be able to see it.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, quantity INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS stock_effects (
    message_id   TEXT NOT NULL,
    order_number INTEGER NOT NULL,
    item         TEXT NOT NULL,
    quantity     INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS incidents (message_id TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS aftercommit_inbox (
    subscription TEXT NOT NULL,
    message_id   TEXT NOT NULL,
    PRIMARY KEY (subscription, message_id)
) WITHOUT ROWID;
"""


class OrderPlaced(msgspec.Struct, frozen=True):
    """The payload of a message."""

    order: int
    item: str
    quantity: int


class Duplicate(Exception):
    """The inbox has the message: its effect is there already."""


class StockBook:
    """The stock service's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def open_stock(self) -> None:
        """Put the first goods on the shelf, once."""
        with transaction(self._connection):
            rows = [(item, STOCK_AT_FIRST) for item in ITEMS]
            self._connection.executemany("INSERT OR IGNORE INTO stock (item, quantity) VALUES (?, ?)", rows)

    def take(self, message_id: str, placed: OrderPlaced) -> None:
        """Inbox row and effect in one transaction. Raises `Duplicate` before the business code is reached."""
        with transaction(self._connection):
            try:
                self._connection.execute("INSERT INTO aftercommit_inbox VALUES (?, ?)", (SUBSCRIPTION, message_id))
            except sqlite3.IntegrityError:
                raise Duplicate from None
            self._connection.execute(
                "UPDATE stock SET quantity = quantity - ? WHERE item = ?", (placed.quantity, placed.item)
            )
            self._connection.execute(
                "INSERT INTO stock_effects VALUES (?, ?, ?, ?)",
                (message_id, placed.order, placed.item, placed.quantity),
            )

    def note_incident(self, message_id: str, what: str) -> None:
        """Keep what the node must never say, for the reconciliation."""
        with transaction(self._connection):
            self._connection.execute("INSERT INTO incidents VALUES (?, ?)", (message_id, what))


class Storekeeper:
    """Works off one pulled message after the other."""

    def __init__(self, scene: Scene, client: Client, book: StockBook) -> None:
        self._client = client
        self._book = book
        self._reports_lost = chance.mishaps(scene.seed, scene.orders).report_lost
        self._duplicates_tally = Tally(scene.duplicates_tally)
        self._reports_lost_tally = Tally(scene.reports_lost_tally)

    def work(self) -> None:
        """Pull for as long as the process lives."""
        while True:
            for message in insist(lambda: self._client.pull(TOPIC, SUBSCRIPTION, PULL_MAX, PULL_WAIT_SECONDS)):
                self.receive(message)

    def receive(self, message: PulledMessage) -> None:
        """Take effect once, report always: without the second report a duplicate would come for ever."""
        placed: OrderPlaced = message.json(OrderPlaced)
        try:
            self._book.take(message.id, placed)
        except Duplicate:
            self._duplicates_tally.count()
        if message.attempt == 1 and placed.order in self._reports_lost:
            self._reports_lost_tally.count()
            return
        try:
            insist(lambda: self._client.complete(message.id, SUBSCRIPTION))
        except (NotFound, Conflict) as refusal:
            self._book.note_incident(message.id, f"complete of a delivered message: {refusal}")


def run(scene: Scene) -> None:
    """Serve until killed."""
    create(scene.stock_database, SCHEMA)
    client = Client(scene.node_url, app=STOCK, timeout_seconds=CALL_TIMEOUT_SECONDS, retries_max=0)
    with closing(connect(scene.stock_database)) as connection, client:
        book = StockBook(connection)
        book.open_stock()
        Storekeeper(scene, client, book).work()


if __name__ == "__main__":
    run(msgspec.json.decode(sys.argv[1], type=Scene))
