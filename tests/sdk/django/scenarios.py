"""What a Django project does with the SDK, one scenario after the other. `python -m tests.sdk.django.scenarios JSON`

JSON is Django's DATABASES. Ends with 0 if everything holds.
"""

import json
import sys
from contextlib import suppress
from typing import Any

import django
import pymysql
from django.conf import settings


def main(databases: dict[str, Any]) -> None:
    """Set Django up, make the tables, run everything."""
    pymysql.install_as_MySQLdb()
    settings.configure(
        DATABASES=databases,
        INSTALLED_APPS=["aftercommit.sdk.django"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    for alias in databases:
        call_command("migrate", "aftercommit", database=alias, verbosity=0)
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE orders (number integer PRIMARY KEY)")
    for scenario in SCENARIOS:
        world = World()
        scenario(world)
        world.service.stop()
    for alias in databases:
        call_command("migrate", "aftercommit", "zero", database=alias, verbosity=0)
        assert not {name for name in connections[alias].introspection.table_names() if name.startswith("aftercommit_")}


class World:
    """A service, a client, and empty tables."""

    def __init__(self) -> None:
        from django.db import connections

        from aftercommit.testing import InMemoryService

        self.service = InMemoryService().start()
        self.client = self.service.client(app="orders")
        for alias in connections:
            with connections[alias].cursor() as cursor:
                for table in ("orders", "aftercommit_outcome", "aftercommit_inbox"):
                    cursor.execute(f"DELETE FROM {table}")

    def insert(self, number: int, using: str = "default") -> None:
        """Business."""
        from django.db import connections

        with connections[using].cursor() as cursor:
            cursor.execute("INSERT INTO orders (number) VALUES (%s)", [number])

    def orders(self, using: str = "default") -> list[int]:
        """What is there."""
        from django.db import connections

        with connections[using].cursor() as cursor:
            cursor.execute("SELECT number FROM orders ORDER BY number")
            return [number for (number,) in cursor.fetchall()]

    def published(self) -> list[int]:
        """The orders of the messages that are delivered."""
        statuses = ("pending_send", "sent", "completed")
        messages = [each for each in self.service.messages(topic="orders.created") if each.status in statuses]
        return sorted(each.json()["order"] for each in messages)

    def settle(self) -> None:
        """Let check-back find out about everything."""
        from django.db import connections

        from aftercommit.sdk.barrier.barrier import Barrier

        self.service.answer_checks_with(Barrier(connections["default"]))
        self.service.run_checks()


def a_transaction_publishes(world: World) -> None:
    from django.db import connection

    with world.client.transaction(connection) as tx:
        world.insert(1)
        tx.publish("orders.created", {"order": 1})
    assert world.orders() == world.published() == [1]
    assert connection.get_autocommit()


def an_exception_rolls_back(world: World) -> None:
    from django.db import connection

    with suppress(KeyError), world.client.transaction(connection) as tx:
        world.insert(1)
        tx.publish("orders.created", {"order": 1})
        raise KeyError
    assert world.orders() == world.published() == []
    assert not connection.in_atomic_block


def an_inner_atomic_takes_its_messages_back(world: World) -> None:
    from django.db import connection, transaction

    with world.client.transaction(connection) as tx:
        world.insert(1)
        tx.publish("orders.created", {"order": 1})
        with suppress(KeyError), transaction.atomic():
            world.insert(2)
            tx.publish("orders.created", {"order": 2})
            raise KeyError
        with transaction.atomic():
            world.insert(3)
            tx.publish("orders.created", {"order": 3})
    assert world.orders() == world.published() == [1, 3]


def a_transaction_inside_an_atomic_is_refused(world: World) -> None:
    from django.db import connection, transaction

    from aftercommit.sdk.databases.port import Misused

    refused = ""
    with transaction.atomic():
        try:
            with world.client.transaction(connection):
                world.insert(1)
        except Misused as error:
            refused = str(error)
    assert "aftercommit.sdk.django.publish" in refused
    assert world.orders() == []


def a_query_that_failed_dooms_the_transaction(world: World) -> None:
    from django.db import connection, transaction

    failed = False
    try:
        with world.client.transaction(connection) as tx:
            world.insert(1)
            tx.publish("orders.created", {"order": 1})
            transaction.set_rollback(True)
    except transaction.TransactionManagementError:
        failed = True
    assert failed
    assert world.orders() == world.published() == []
    world.settle()
    assert world.published() == []


def another_database_has_its_own_transaction(world: World) -> None:
    from django.db import connections

    with world.client.transaction(connections["other"]) as tx:
        world.insert(1, "other")
        tx.publish("orders.created", {"order": 1})
    assert world.orders("other") == world.published() == [1]
    assert world.orders() == []


def publishing_goes_with_somebody_elses_atomic(world: World) -> None:
    from django.db import transaction

    from aftercommit.sdk.django import publish

    with transaction.atomic():
        world.insert(1)
        publish(world.client, "orders.created", {"order": 1})
        assert world.published() == []
        with suppress(KeyError), transaction.atomic():
            world.insert(2)
            publish(world.client, "orders.created", {"order": 2})
            raise KeyError
    assert world.orders() == world.published() == [1]
    with suppress(KeyError), transaction.atomic():
        world.insert(3)
        publish(world.client, "orders.created", {"order": 3})
        raise KeyError
    world.settle()
    assert world.orders() == world.published() == [1]
    assert world.service.statuses() == {"sent": 1, "rolled_back": 2}


def publishing_outside_of_an_atomic_is_refused(world: World) -> None:
    from aftercommit.sdk.databases.port import Misused
    from aftercommit.sdk.django import publish

    try:
        publish(world.client, "orders.created", {"order": 1})
    except Misused:
        return
    raise AssertionError("It was not refused.")


def a_message_that_is_not_prepared_dooms_the_block_even_if_the_error_is_caught(world: World) -> None:
    from django.db import transaction

    from aftercommit.sdk import NotPrepared
    from aftercommit.sdk.django import publish

    with world.service.unreachable(), suppress(NotPrepared), transaction.atomic():
        world.insert(1)
        with suppress(NotPrepared):
            publish(world.client, "orders.created", {"order": 1})
    assert world.orders() == world.published() == []


def publishing_has_its_own_savepoints_and_databases(world: World) -> None:
    from django.db import connections, transaction

    from aftercommit.sdk.django import publish

    with transaction.atomic(), transaction.atomic(using="other"):
        world.insert(1)
        publish(world.client, "orders.created", {"order": 1})
        world.insert(2, "other")
        publish(world.client, "orders.created", {"order": 2}, using="other")
        with connections["default"].cursor() as cursor:
            # Behind Django's back, so that only the marker tells.
            cursor.execute("SAVEPOINT by_hand")
            publish(world.client, "orders.created", {"order": 3})
            cursor.execute("ROLLBACK TO SAVEPOINT by_hand")
    assert world.orders() == [1]
    assert world.orders("other") == [2]
    assert world.published() == [1, 2]


def a_test_case_of_djangos_is_allowed_around_it(world: World) -> None:
    import unittest

    from django.db import connection
    from django.test import TestCase

    class OrdersTest(TestCase):  # type: ignore[misc]  # Django has no types
        def test_it(self) -> None:
            with world.client.transaction(connection) as tx:
                world.insert(1)
                tx.publish("orders.created", {"order": 1})
            assert world.orders() == [1]
            with suppress(KeyError), world.client.transaction(connection) as tx:
                world.insert(2)
                tx.publish("orders.created", {"order": 2})
                raise KeyError
            assert world.orders() == [1]

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(OrdersTest).run(result)
    assert result.wasSuccessful(), result.errors + result.failures
    assert world.published() == [1]
    assert world.orders() == []


def a_commit_without_an_answer_is_left_to_check_back(world: World) -> None:
    from django.db import connection

    from aftercommit.sdk import CommitUncertain
    from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy

    if connection.vendor == "sqlite":
        return
    port, fates = connection.settings_dict["PORT"], [Fault(Fate.CUT), Fault(Fate.LOSE_ANSWER)]

    def decide(piece: bytes) -> Fault:
        # A connection begins with other statements in which the word occurs.
        return fates.pop() if fates and piece.rstrip(b"\0").endswith(b"COMMIT") else FORWARD

    with FaultProxy(port, decide) as proxy:
        for number in (1, 2):
            connection.close()
            connection.settings_dict["PORT"] = proxy.port
            with suppress(CommitUncertain), world.client.transaction(connection) as tx:
                world.insert(number)
                tx.publish("orders.created", {"order": number})
            assert world.published() == []
    assert not fates
    connection.close()
    connection.settings_dict["PORT"] = port
    world.settle()
    assert world.orders() == world.published() == [1]


def the_inbox_works_once(world: World) -> None:
    from django.db import connection

    from aftercommit.sdk import Delivery, Inbox, Receipt

    world.client.put_topic("orders.created", subscriptions=["stock"])
    message = world.client.prepare("orders.created", {"order": 7}, confirmed=True)
    inbox = Inbox(world.client, connection, subscription="stock")
    delivery = Delivery(id=message.id, topic="orders.created", body=b"{}")
    receipts = [inbox.receive(delivery, lambda given, tx: world.insert(7)) for _ in range(2)]
    assert receipts == [Receipt.COMPLETED, Receipt.DUPLICATE]
    assert world.orders() == [7]


def a_process_that_dies_at_every_point_delivers_if_and_only_if_it_committed(world: World) -> None:
    from django.db import connection

    from aftercommit.sdk import Barrier, Delivery, Inbox, Point, PulledMessage, Receipt
    from aftercommit.testing import CRASH_POINTS

    world.service.subscribe("orders.created", "stock", app="stock")
    world.service.answer_checks_with(Barrier(connection))
    inbox = Inbox(world.service.client(app="stock"), connection, subscription="stock")

    def order(number: int) -> None:
        with world.client.transaction(connection) as tx:
            world.insert(number)
            tx.publish("orders.created", {"order": number}, key=str(number))

    def receive(message: PulledMessage) -> Receipt:
        # The effect is a row that could not be there twice, so that a second one would fail and not go unseen.
        return inbox.receive(
            Delivery.pulled(message), lambda delivery, tx: world.insert(EFFECTS + int(delivery.key or "0"))
        )

    for number, point in enumerate(CRASH_POINTS, start=1):
        with world.service.crash_at(point) as crash:
            order(number)
            world.service.drain(receive, topic="orders.created", subscription="stock")
        assert crash.happened, point
    committed = {number for number in world.orders() if number < EFFECTS}
    before = CRASH_POINTS[: CRASH_POINTS.index(Point.AFTER_COMMIT)]
    assert committed == {number for number, point in enumerate(CRASH_POINTS, start=1) if point not in before}
    world.service.assert_consistent(
        "orders.created", committed={str(number) for number in committed}, consumer=receive, subscription="stock"
    )
    assert {number - EFFECTS for number in world.orders() if number > EFFECTS} == committed
    world.service.assert_settled()


# What is added to an order's number to name its effect, which lies in the same table.
EFFECTS = 1000

SCENARIOS = (
    a_process_that_dies_at_every_point_delivers_if_and_only_if_it_committed,
    a_transaction_publishes,
    an_exception_rolls_back,
    an_inner_atomic_takes_its_messages_back,
    a_transaction_inside_an_atomic_is_refused,
    a_query_that_failed_dooms_the_transaction,
    another_database_has_its_own_transaction,
    publishing_goes_with_somebody_elses_atomic,
    publishing_outside_of_an_atomic_is_refused,
    a_message_that_is_not_prepared_dooms_the_block_even_if_the_error_is_caught,
    publishing_has_its_own_savepoints_and_databases,
    a_test_case_of_djangos_is_allowed_around_it,
    a_commit_without_an_answer_is_left_to_check_back,
    the_inbox_works_once,
)

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
