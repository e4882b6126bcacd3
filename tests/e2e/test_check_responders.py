"""Check-back between a real node and the SDK's responders, with a barrier on SQLite behind them."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TypeAlias

import aiosqlite
import pytest

from aftercommit.sdk import AsyncBarrier, Barrier, Point
from aftercommit.sdk.checkback.asgi import CheckApp
from aftercommit.sdk.checkback.pull import AsyncPullResponder, PullResponder
from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.checkback.wsgi import CheckWsgiApp
from aftercommit.sdk.tables import ddl
from aftercommit.signatures import new_secret
from tests.e2e.caller import Caller
from tests.e2e.names import fresh
from tests.e2e.node import Node
from tests.e2e.waiting import await_status, eventually
from tests.sdk.checkback.serving import uvicorned, wsgiref_served

# Asked about when an operator wants it, and once.
PATIENT = {"check_after_seconds": 3600, "checks_max": 1}

Serve: TypeAlias = Callable[[CheckResponder], AbstractContextManager[int]]
Way: TypeAlias = tuple[Serve, Barrier | AsyncBarrier]


class Died(BaseException):
    """What a process does that is killed."""


class Shop:
    """An application's own database: local transactions that commit, and a check address that answers for them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(self.connect()) as connection:
            for statement in ddl("sqlite", inbox=False, outbox=False):
                connection.execute(statement)
            connection.execute("CREATE TABLE orders (number INTEGER)")

    def connect(self) -> sqlite3.Connection:
        """A connection as the application makes them."""
        return sqlite3.connect(self.path, check_same_thread=False)

    def awaitable(self) -> aiosqlite.Connection:
        """The same for asyncio."""
        return aiosqlite.connect(self.path)

    def orders(self) -> list[int]:
        """The business data that was committed."""
        with closing(self.connect()) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM orders")]

    def outcome(self, message_id: str) -> str | None:
        """What the outcome table says of a message."""
        with closing(self.connect()) as connection:
            query = "SELECT outcome FROM aftercommit_outcome WHERE message_id = ?"
            row = connection.execute(query, (message_id,)).fetchone()
            return None if row is None else row[0]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The application's database."""
    return Shop(tmp_path / "shop.db")


@pytest.fixture
def secret(orders: Caller) -> str:
    """The signing secret of `orders`, which insists on signed answers."""
    made = orders.put(f"/v1/apps/{orders.app}", {"check_signed": True}).require(201)
    secret: str = made["secrets"][0]["secret"]
    return secret


def _asgi(responder: CheckResponder) -> AbstractContextManager[int]:
    return uvicorned(CheckApp(responder))


def _wsgi(responder: CheckResponder) -> AbstractContextManager[int]:
    return wsgiref_served(CheckWsgiApp(responder))


@pytest.fixture(
    params=[(_asgi, "blocking"), (_asgi, "awaited"), (_wsgi, "blocking")],
    ids=["ASGI", "ASGI with asyncio", "WSGI"],
)
def way(request: pytest.FixtureRequest, shop: Shop) -> Way:
    """How check-back is served, and the barrier behind it."""
    serve, kind = request.param
    return serve, Barrier(shop.connect) if kind == "blocking" else AsyncBarrier(shop.awaitable)


def _call_back(orders: Caller, port: int) -> None:
    url = f"http://127.0.0.1:{port}/aftercommit/checks"
    orders.put(f"/v1/apps/{orders.app}", {"check_url": url, "check_signed": True}).require(200)


def _committed_and_lost(node: Node, orders: Caller, topic: str, shop: Shop) -> tuple[str, str]:
    """Messages that nobody asks about yet, of a process that died after its commit and of one that died before it."""
    orders.put_topic(topic, policy=PATIENT).require(200, 201)
    lost = orders.prepare(topic, "lost").require(201)["id"]

    def die(point: Point) -> None:
        if point is Point.AFTER_COMMIT:
            raise Died

    with (
        node.client(orders.app, probe=die) as client,
        closing(shop.connect()) as connection,
        pytest.raises(Died),
        client.transaction(connection) as tx,
    ):
        connection.execute("INSERT INTO orders VALUES (1)")
        committed = tx.publish(topic, "paid")
    assert shop.orders() == [1]
    assert {orders.status(committed), orders.status(lost)} == {"pending_confirmation"}
    return committed, lost


def _ask_about(orders: Caller, *message_ids: str) -> None:
    for each in message_ids:
        orders.operate(each, "recheck").require(200)


def _settled(orders: Caller, topic: str, shop: Shop, committed: str, lost: str) -> None:
    await_status(orders, committed, "sent")
    await_status(orders, lost, "rolled_back")
    assert orders.pull_one(topic, "default")["payload"] == "paid"
    assert (shop.outcome(committed), shop.outcome(lost)) == ("committed", "rolled_back")


def test_what_committed_is_delivered_and_what_never_can_is_dropped(
    node: Node, orders: Caller, topic: str, shop: Shop, secret: str, way: Way
) -> None:
    serve, barrier = way
    committed, lost = _committed_and_lost(node, orders, topic, shop)
    with serve(CheckResponder(barrier, secrets=[secret])) as port:
        _call_back(orders, port)
        _ask_about(orders, committed, lost)
        _settled(orders, topic, shop, committed, lost)


def test_nothing_stops_while_secrets_are_rotated(
    node: Node, orders: Caller, topic: str, shop: Shop, secret: str
) -> None:
    newer = orders.post(f"/v1/apps/{orders.app}/secrets").require(200, 201)["secret"]
    for number, secrets in enumerate(([secret], [secret, newer], [newer])):
        committed, lost = _committed_and_lost(node, orders, f"{topic}.{number}", shop)
        with uvicorned(CheckApp(CheckResponder(Barrier(shop.connect), secrets=secrets))) as port:
            _call_back(orders, port)
            _ask_about(orders, committed, lost)
            _settled(orders, f"{topic}.{number}", shop, committed, lost)
        with closing(shop.connect()) as connection, connection:
            connection.execute("DELETE FROM orders")


@pytest.mark.parametrize("secrets", [[new_secret(b"o" * 32)], []], ids=["another secret", "no secret"])
def test_who_does_not_have_the_secret_decides_nothing(
    node: Node, orders: Caller, topic: str, shop: Shop, secret: str, way: Way, secrets: list[str]
) -> None:
    assert secret not in secrets
    serve, barrier = way
    committed, lost = _committed_and_lost(node, orders, topic, shop)
    with serve(CheckResponder(barrier, secrets=secrets)) as port:
        _call_back(orders, port)
        _ask_about(orders, committed, lost)
        for message_id in (committed, lost):
            assert await_status(orders, message_id, "undecided", "pending_send", "sent", "rolled_back") == "undecided"
            assert orders.message(message_id)["checks"] == 1
    assert orders.pull(topic, "default") == []


def test_a_rule_of_the_business_decides_in_its_topic(
    node: Node, orders: Caller, topic: str, shop: Shop, secret: str
) -> None:
    orders.put_topic(topic, policy=PATIENT).require(201)
    paid, refused = (orders.prepare(topic, each, key=each).require(201)["id"] for each in ("paid", "refused"))
    responder = CheckResponder(Barrier(shop.connect), secrets=[secret])
    responder.rule(topic)(lambda check: check.key == "paid")
    with uvicorned(CheckApp(responder)) as port:
        _call_back(orders, port)
        _ask_about(orders, paid, refused)
        await_status(orders, paid, "sent")
        await_status(orders, refused, "rolled_back")
    assert shop.outcome(paid) is None, "The barrier was not asked."


def test_an_initiator_that_cannot_be_called_pulls(node: Node, orders: Caller, topic: str, shop: Shop) -> None:
    committed, lost = _committed_and_lost(node, orders, topic, shop)
    with node.client(orders.app) as client:
        responder = PullResponder(client, Barrier(shop.connect), app=str(orders.app))
        responder.start()
        try:
            _ask_about(orders, committed, lost)
            _settled(orders, topic, shop, committed, lost)
        finally:
            assert responder.stop()
    assert responder.stop()


async def test_an_initiator_on_asyncio_pulls(node: Node, orders: Caller, topic: str, shop: Shop) -> None:
    committed, lost = await asyncio.to_thread(_committed_and_lost, node, orders, topic, shop)
    async with node.async_client(orders.app) as client:
        responder = AsyncPullResponder(client, AsyncBarrier(shop.awaitable), app=str(orders.app))
        running = asyncio.create_task(responder.run())
        await asyncio.to_thread(_ask_about, orders, committed, lost)
        await asyncio.to_thread(_settled, orders, topic, shop, committed, lost)
        responder.stop()
        await asyncio.wait_for(running, 10)


def test_the_pull_outlives_the_service(
    own_node: Node, topic: str, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    app = fresh("orders-")
    with own_node.caller(app) as orders, own_node.client(app, retries_max=0) as client:
        committed, lost = _committed_and_lost(own_node, orders, topic, shop)
        responder = PullResponder(client, Barrier(shop.connect), app=app)
        responder.start()
        try:
            own_node.kill9()
            eventually(lambda: caplog.text, lambda said: "could not be pulled and answered" in said)
            own_node.start()
            with own_node.caller(app) as again:
                _ask_about(again, committed, lost)
                _settled(again, topic, shop, committed, lost)
        finally:
            assert responder.stop()
