"""Mistakes of a user's that mypy and pyright must find: every line marked as wrong, and no other."""

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit.sdk import (
    AsyncBarrier,
    AsyncClient,
    AsyncConsumer,
    AsyncInbox,
    AsyncTransaction,
    Barrier,
    CheckApp,
    CheckResponder,
    Client,
    Consumer,
    Delivery,
    Inbox,
    OutboxRelay,
    PullResponder,
    Receipt,
    Transaction,
    Unit,
)
from aftercommit.testing import InMemoryService, Server


def mistaken(client: Client) -> None:
    """Wrong names, wrong types, wrong things done with what comes back."""
    client.prepare("orders.created", {"order": 42}, delay_second=3)  # wrong
    client.prepare("orders.created", {"order": 42}, delay_seconds="3")  # wrong
    client.confirm(42)  # wrong
    client.confirm(client.prepare("orders.created"))  # wrong
    client.pull("orders.created")  # wrong
    client.fail("id")  # wrong
    client.confirmed("id")  # wrong
    for message in client.pull("orders.created", "billing"):
        message.payload_text  # wrong  # noqa: B018
    Client("http://127.0.0.1:8340", "orders")  # wrong


async def mistaken_async(client: AsyncClient) -> None:
    """The same, and what only asyncio has."""
    await client.confirm(42)  # wrong
    client.prepare("orders.created", {"order": 42}).id  # wrong  # noqa: B018
    with client:  # wrong
        return


def mistaken_transaction(client: Client, session: Session, awaited: AsyncSession) -> None:
    """Wrong options, wrong blocks."""
    with client.transaction(session, unit="unit") as tx:  # wrong
        tx.publish("orders.created", {"order": 42}, delay_second=3)  # wrong
        tx.publish(42)  # wrong
        tx.commit()  # wrong
    with client.transaction(session, fallback="outbox"):  # wrong
        pass
    client.bind(awaited)  # wrong
    Client(confirm="later")  # wrong
    Client(fallback="queue")  # wrong
    Unit(3)  # wrong


async def mistaken_async_transaction(client: AsyncClient, session: AsyncSession, blocking: Session) -> None:
    """The same, and what only asyncio has."""
    with client.transaction(session):  # wrong
        pass
    async with client.transaction(session) as tx:
        await tx.publish("orders.created", {"order": 42})  # wrong
    client.bind(blocking)  # wrong


def mistaken_checks(client: Client, awaiting: AsyncClient, engine: Engine) -> None:
    """Who is asked, with what, and by whom."""
    barrier = Barrier(engine)
    CheckResponder(barrier)  # wrong
    CheckResponder(engine, secrets=["whsec_"])  # wrong
    CheckResponder(barrier, secrets=None)  # wrong
    responder = CheckResponder(AsyncBarrier(engine), secrets=["whsec_"])
    CheckApp(barrier)  # wrong
    PullResponder(client, responder)  # wrong
    PullResponder(awaiting, responder, app="orders")  # wrong
    OutboxRelay(awaiting, engine)  # wrong
    barrier.check(["id"])  # wrong
    barrier.purge(awaiting)  # wrong

    @responder.rule("orders.paid")  # wrong
    def paid() -> bool:
        return True

    paid()


def mistaken_consumer(client: Client, awaiting: AsyncClient, engine: Engine) -> None:
    """Handlers that are none, and clients of the other kind."""
    Consumer(awaiting, engine)  # wrong
    AsyncConsumer(client, engine)  # wrong
    consumer = Consumer(client, engine)
    consumer.on("orders.created", concurrency="2")  # wrong
    consumer.on("orders.created")("no function")  # wrong
    consumer.wsgi()  # wrong
    Inbox(awaiting, engine)  # wrong
    Delivery("id", "orders.created", b"{}")  # wrong
    Delivery(id="id", topic="orders.created", body="{}")  # wrong

    async def awaited(_delivery: Delivery, _tx: AsyncTransaction) -> None: ...

    delivery = Delivery(id="id", topic="orders.created", body=b"{}")
    Inbox(client, engine).receive(delivery, awaited)  # wrong
    receipt: Receipt = AsyncInbox(awaiting, engine).receive(delivery, awaited)  # wrong
    delivery.attempt = 3  # wrong

    def blocking(_delivery: Delivery, _tx: Transaction) -> None: ...

    handler = consumer.on("orders.created")(blocking)
    handler(receipt)  # wrong


def mistaken_tests(folder: str) -> None:
    """The kit for tests."""
    Server(folder)  # wrong
    with InMemoryService() as service:
        service.crash_at("before_commit")  # wrong
        service.refute_published("orders.created", count=1)  # wrong
        service.advance("1 s")  # wrong
    Server(Path(folder)).port()  # wrong
