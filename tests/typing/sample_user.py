"""A user's program as mypy and pyright see it: what comes out of the SDK has the type that it should have."""

from pathlib import Path
from typing import Any, assert_never, assert_type

from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from aftercommit.sdk import (
    AfterCommitClientError,
    AsyncBarrier,
    AsyncClient,
    AsyncConsumer,
    AsyncInbox,
    AsyncOutboxRelay,
    AsyncPullResponder,
    AsyncTransaction,
    Barrier,
    BatchResult,
    CheckApp,
    CheckResponder,
    CheckWsgiApp,
    Client,
    CommitUncertain,
    Consumer,
    Delivery,
    Fail,
    IdConflict,
    Inbox,
    OutboxRelay,
    Outcome,
    Point,
    PulledMessage,
    PullResponder,
    Receipt,
    RetryLater,
    Transaction,
    TransactionError,
    Unavailable,
    Unit,
    new_id,
    new_message,
)
from aftercommit.sdk.transactions.binding import Binding
from aftercommit.testing import Drained, InMemoryService, Server
from aftercommit.wire import Check


def initiate(client: Client) -> str:
    """Prepare, commit, confirm."""
    message = client.prepare("orders.created", {"order": 42}, key="42", check_after_seconds=30)
    assert_type(message.id, str)
    confirmed = client.confirm(message.id)
    assert_type(confirmed.status, str)
    return message.id


def initiate_many(client: Client) -> list[str]:
    """The same for many messages at once."""
    prepared = [new_message("orders.created", {"order": number}, {"key": str(number)}) for number in range(3)]
    results = client.prepare_batch(prepared)
    assert_type(results, list[BatchResult])
    for result in results:
        if isinstance(result.error, IdConflict):
            raise result.error
        assert_type(result.ok, bool)
    return [result.unwrap().id for result in results]


def consume(client: Client) -> int:
    """Pull, work, report."""
    messages = client.pull("orders.created", "billing", max=10, wait_seconds=0.5)
    assert_type(messages, list[PulledMessage])
    for message in messages:
        assert_type(message.body, bytes)
        order: dict[str, Any] = message.json()
        if "order" in order:
            client.complete(message.id, "billing")
        else:
            client.fail(message.id, "There is no order in it.")
    return len(messages)


def give_up(client: Client) -> None:
    """What went wrong, and whether it matters."""
    message_id = new_id()
    try:
        client.cancel(message_id, reason="The customer left.")
    except Unavailable as error:
        assert_type(error.safe_to_ignore, bool)
    except AfterCommitClientError as error:
        assert_type(error.step, str | None)
        raise


def run() -> None:
    """A client is its own context manager."""
    with Client("http://127.0.0.1:8340", app="orders") as client:
        assert_type(client, Client)
        initiate(client)
        assert_type(client.ready(), bool)


async def run_async() -> None:
    """The same names on asyncio."""
    async with AsyncClient("http://127.0.0.1:8340", app="orders") as client:
        assert_type(client, AsyncClient)
        message = await client.prepare("orders.created", {"order": 42})
        await client.confirm(message.id)
        messages = await client.pull("orders.created", "billing")
        assert_type(messages, list[PulledMessage])
        assert_type(await client.complete_batch([each.id for each in messages]), list[BatchResult])


def publish(client: Client, session: Session) -> str | None:
    """A local transaction, with all its runs."""
    unit = Unit()
    try:
        with client.transaction(session, unit=unit) as tx:
            assert_type(tx, Transaction)
            assert_type(tx.publish("orders.created", {"order": 42}, key="42", delay_seconds=3), str)
            with tx.savepoint():
                tx.publish("orders.counted", b"1")
        assert_type(tx.already_done, bool)
    except CommitUncertain as error:
        assert_type(error.message_ids, tuple[str, ...])
    except TransactionError as error:
        assert_type(error.detail, str)
        return None
    return unit.message_ids[0]


def publish_bound(client: Client, session: Session) -> None:
    """A session whose commit is the user's own."""
    bound = client.bind(session)
    assert_type(bound, Binding)
    assert_type(bound.publish("orders.created", {"order": 42}), str)
    session.commit()
    bound.close()


async def publish_async(client: AsyncClient, session: AsyncSession) -> None:
    """The same on asyncio."""
    async with client.transaction(session) as tx:
        assert_type(tx, AsyncTransaction)
        assert_type(tx.publish("orders.created", {"order": 42}), str)
        async with tx.savepoint():
            tx.publish("orders.counted", b"1")
    assert_type(client.bind(session), Binding)


def answer(client: Client, engine: Engine, secret: str) -> CheckWsgiApp:
    """Checks, called for and fetched."""
    barrier = Barrier(engine)
    responder = CheckResponder(barrier, secrets=[secret])

    @responder.rule("orders.paid")
    def paid(check: Check) -> bool | None:
        return check.key == "42" or None

    check = Check(id=new_id(), topic="orders.paid", key="42", hint=None, prepared_at="", check=1)
    assert_type(paid(check), bool | None)
    assert_type(barrier.check([check]), dict[str, Outcome])
    assert_type(barrier.purge(client, keep_days=10), int)
    assert_type(PullResponder(client, barrier, app="orders").run_once(), int)
    assert_type(PullResponder(client, responder, app="orders").run_once(wait_seconds=1), int)
    assert_type(OutboxRelay(client, engine).run_once(), int)
    return CheckWsgiApp(responder)


async def answer_async(client: AsyncClient, engine: AsyncEngine, secret: str) -> CheckApp:
    """The same on asyncio."""
    barrier = AsyncBarrier(engine)
    responder = CheckResponder(barrier, secrets=[secret])

    @responder.rule("orders.paid")
    async def paid(check: Check) -> Outcome:
        return Outcome.COMMITTED if check.key == "42" else Outcome.UNKNOWN

    check = Check(id=new_id(), topic="orders.paid", key="42", hint=None, prepared_at="", check=1)
    assert_type(await paid(check), Outcome)
    assert_type(await barrier.check([check]), dict[str, Outcome])
    assert_type(await AsyncPullResponder(client, barrier, app="orders").run_once(), int)
    assert_type(await AsyncOutboxRelay(client, engine).run_once(), int)
    return CheckApp(responder)


def reserve(delivery: Delivery, tx: Transaction) -> Fail | None:
    """A handler: what it is given, and what it says."""
    if delivery.attempt > 9:
        return Fail("It was tried often enough.")
    order: dict[str, Any] = delivery.json()
    tx.publish("stock.reserved", order, key=delivery.key)
    return None


def receive(client: Client, maker: sessionmaker[Session], headers: dict[str, Any], body: bytes) -> str:
    """A delivery from a broker."""
    inbox = Inbox(client, maker, subscription="stock")
    receipt = inbox.receive(Delivery.received(headers, body), reserve)
    assert_type(receipt, Receipt)
    match receipt:
        case Receipt.COMPLETED | Receipt.DUPLICATE:
            return "done"
        case Receipt.FAILED | Receipt.NOT_MEANT:
            return "not done"
        case Receipt.RETRY_LATER:
            return "not yet done"
        case _:
            assert_never(receipt)


def serve(client: Client, maker: sessionmaker[Session], secret: str) -> None:
    """Handlers stay the functions they were."""
    consumer = Consumer(client, maker)
    assert_type(consumer.on("orders.created", "stock")(reserve)(a_delivery(), a_transaction()), Fail | None)

    @consumer.on("orders.counted", concurrency=2, timeout_seconds=None)
    def count(delivery: Delivery, _tx: Transaction) -> RetryLater | None:
        return RetryLater("later") if delivery.is_for("stock") else None

    assert_type(count(a_delivery(), a_transaction()), RetryLater | None)
    assert_type(consumer.receive(a_delivery(), "stock"), Receipt)
    consumer.wsgi(secrets=[secret], subscription="stock")
    assert_type(consumer.run(grace_seconds=3), int)


async def serve_async(client: AsyncClient, engine: AsyncEngine, secret: str) -> None:
    """The same on asyncio."""
    consumer = AsyncConsumer(client, async_sessionmaker(engine))

    @consumer.on("orders.created", "stock")
    async def reserve_async(_delivery: Delivery, tx: AsyncTransaction) -> int:
        session: AsyncSession = tx.session
        await session.flush()
        return 1

    async def work(_delivery: Delivery, tx: AsyncTransaction) -> None:
        tx.publish("stock.reserved")

    delivery = a_delivery()
    async with client.transaction(AsyncSession(engine)) as tx:
        assert_type(await reserve_async(delivery, tx), int)
    assert_type(await AsyncInbox(client, engine).receive(delivery, work), Receipt)
    assert_type(await consumer.receive(delivery, "stock"), Receipt)
    consumer.asgi(secrets=[secret])
    assert_type(await consumer.run(), int)


def a_delivery() -> Delivery:
    """As a test makes one."""
    return Delivery(id=new_id(), topic="orders.created", body=b"{}", headers={"tenant": "a"})


def a_transaction() -> Transaction:
    """Of a client that tells where it is."""
    passed: list[Point] = []
    return Client(probe=passed.append, confirm="background", fallback="outbox").transaction(
        Session(create_engine("sqlite://"))
    )


def test_in_memory(maker: sessionmaker[Session]) -> None:
    """The kit for tests."""
    with InMemoryService() as service:
        assert_type(service, InMemoryService)
        client = service.client(app="orders", confirm="background")
        assert_type(client, Client)
        assert_type(service.async_client(), AsyncClient)
        consumer = Consumer(client, maker)
        consumer.on("orders.created", "stock")(reserve)
        service.answer_checks_with(Barrier(maker))
        assert_type(service.drain(consumer), Drained)
        assert_type(service.statuses(), dict[str, int])
        assert_type(service.assert_published("orders.created", count=1)[0].id, str)
        with service.crash_at(Point.BEFORE_COMMIT):
            initiate(client)


def test_on_a_server(folder: Path) -> None:
    """A real node for tests."""
    with Server(folder, options=["--help"]) as server, server.client(app="orders") as client:
        assert_type(server.url, str)
        assert_type(client, Client)
        server.restart()
