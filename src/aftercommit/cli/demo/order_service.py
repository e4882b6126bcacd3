"""The initiator: places orders, and answers check-backs. Protocol 5 by hand, so that it can be read here.

`python -m aftercommit.cli.demo.order_service SCENE` (JSON)
"""

import os
import queue
import sys
import threading
import time
import traceback
from typing import Final

import msgspec

from aftercommit.cli.demo import chance
from aftercommit.cli.demo.barrier import AlreadyDecided
from aftercommit.cli.demo.check_server import CheckServer
from aftercommit.cli.demo.order_book import Declined, Order, OrderBook, open_numbers
from aftercommit.cli.demo.patience import CALL_TIMEOUT_SECONDS, insist
from aftercommit.cli.demo.scene import ORDERS, TOPIC, Scene
from aftercommit.domain.commands import CheckOutcome
from aftercommit.sdk import AlreadyConfirmed, Client, NotFound, RolledBack, new_id

CLERKS: Final = 4
# Customers come one by one: without this a small demo is over before its processes have been killed.
BETWEEN_CUSTOMERS_SECONDS: Final = 0.025
# Both long enough for the check-back, due after 1 to 1.2 s, to come before the transaction or into it.
SLOW_BEFORE_SECONDS: Final = 2.5
SLOW_INSIDE_SECONDS: Final = 1.8


class Clerk:
    """Places one order at a time, each until its end is known."""

    def __init__(self, scene: Scene, client: Client, mishaps: chance.Mishaps) -> None:
        self._scene = scene
        self._client = client
        self._mishaps = mishaps
        self._book = OrderBook(scene.order_database)

    def place(self, number: int) -> None:
        """Units of work under new ids until one ends: committed, or declined."""
        slow_before = number in self._mishaps.slow_before
        while not self._unit_of_work(number, slow_before=slow_before):
            slow_before = False

    def _unit_of_work(self, number: int, *, slow_before: bool) -> bool:
        """Prepare, commit, confirm. False if the check-back ruled it out meanwhile."""
        message_id = new_id()
        order = self._order(number)
        try:
            self._prepare(message_id, order)
            if slow_before:
                time.sleep(SLOW_BEFORE_SECONDS)
            self._book.place(
                message_id,
                order,
                declined=number in self._mishaps.declined,
                slow_seconds=SLOW_INSIDE_SECONDS if number in self._mishaps.slow_inside else 0,
            )
        except RolledBack:
            return False
        except AlreadyDecided as decided:
            if decided.outcome is CheckOutcome.ROLLED_BACK:
                return False
        except Declined:
            self._cancel(message_id, number)
            return True
        if not order.confirm_lost:
            self._confirm(message_id)
        return True

    def _order(self, number: int) -> Order:
        item, quantity = chance.item_and_quantity(self._scene.seed, number)
        return Order(
            number=number,
            item=item,
            quantity=quantity,
            confirm_lost=number in self._mishaps.confirm_lost and number not in self._mishaps.declined,
        )

    def _prepare(self, message_id: str, order: Order) -> None:
        payload = {"order": order.number, "item": order.item, "quantity": order.quantity}
        insist(lambda: self._client.prepare(TOPIC, payload, id=message_id, key=str(order.number)))

    def _confirm(self, message_id: str) -> None:
        try:
            insist(lambda: self._client.confirm(message_id))
        except (RolledBack, NotFound) as refusal:
            self._book.note_incident(message_id, f"confirm of a committed order: {refusal}")

    def _cancel(self, message_id: str, number: int) -> None:
        if self._book.decline(message_id, number) is CheckOutcome.COMMITTED:
            self._confirm(message_id)
            return
        try:
            insist(lambda: self._client.cancel(message_id, reason="declined"))
        except AlreadyConfirmed as refusal:
            self._book.note_incident(message_id, f"cancel of a declined order: {refusal}")


def run(scene: Scene) -> None:
    """Serve check-backs for as long as the process lives, and place the orders that have no known end."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in open_numbers(scene.order_database, scene.orders):
        todo.put(number)
    mishaps = chance.mishaps(scene.seed, scene.orders)
    client = Client(scene.node_url, app=ORDERS, timeout_seconds=CALL_TIMEOUT_SECONDS, retries_max=0)

    def work() -> None:
        clerk = Clerk(scene, client, mishaps)
        while not todo.empty():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            clerk.place(number)
            time.sleep(BETWEEN_CUSTOMERS_SECONDS)

    threading.excepthook = _die
    server = CheckServer(scene)
    for index in range(CLERKS):
        threading.Thread(target=work, name=f"clerk-{index}", daemon=True).start()
    server.serve_forever()


def _die(failure: threading.ExceptHookArgs) -> None:
    """A clerk that failed must not fail silently: the process ends, the demo sees that and shows this text."""
    traceback.print_exception(failure.exc_value)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    run(msgspec.json.decode(sys.argv[1], type=Scene))
