"""What becomes of a delivery that reached its handler: outcomes, time limits, and how many at a time."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from tests.sdk.consumer.pulled import TOPIC, AwaitedService, delivery

INSERT = "INSERT INTO orders VALUES ({})"
INBOX = (
    "CREATE TABLE aftercommit_inbox (subscription VARCHAR(64), message_id VARCHAR(36), at TIMESTAMP NOT NULL, "
    "PRIMARY KEY (subscription, message_id))"
)


def write(delivery, tx) -> None:
    tx.session.execute(INSERT.format(delivery.json()["order"]))


def test_work_and_inbox_row_are_one_and_a_duplicate_is_reported_again(service, connect, orders):
    consumer = Consumer(service, connect)
    consumer.on(TOPIC, "stock")(write)
    assert [consumer.receive(delivery()) for _ in range(2)] == [Receipt.COMPLETED, Receipt.DUPLICATE]
    assert orders() == [1]
    assert service.verbs == ["complete", "complete"]


@pytest.mark.parametrize(
    ("said", "receipt", "verbs"),
    [
        (Fail("no such item"), Receipt.FAILED, ["fail"]),
        (RetryLater("later"), Receipt.RETRY_LATER, []),
        (KeyError("a bug"), Receipt.RETRY_LATER, []),
    ],
    ids=["fail", "later", "bug"],
)
def test_what_a_handler_raises_undoes_its_work(service, connect, orders, said, receipt, verbs):
    consumer = Consumer(service, connect)

    @consumer.on(TOPIC, "stock")
    def reserve(delivery, tx) -> None:
        write(delivery, tx)
        raise said

    assert consumer.receive(delivery()) is receipt
    assert (orders(), service.verbs) == ([], verbs)


@pytest.mark.parametrize(
    ("said", "receipt"), [(Fail("no"), Receipt.FAILED), (RetryLater("later"), Receipt.RETRY_LATER)]
)
def test_what_a_handler_returns_counts_without_a_database_too(service, said, receipt):
    consumer = Consumer(service)
    consumer.on(TOPIC)(lambda delivery: said)
    assert consumer.receive(delivery()) is receipt


def test_a_blocking_handler_that_was_late_is_rolled_back_at_its_end(service, connect, orders, caplog):
    now = [0.0]
    consumer = Consumer(service, connect, clock=lambda: now[0])

    @consumer.on(TOPIC, "stock", timeout_seconds=5)
    def reserve(delivery, tx) -> None:
        write(delivery, tx)
        now[0] += delivery.json()["order"]

    assert consumer.receive(delivery(6)) is Receipt.RETRY_LATER
    assert consumer.receive(delivery(5)) is Receipt.COMPLETED
    assert orders() == [5]
    assert "took 6.0 s, and 5 s are allowed; it is rolled back" in caplog.text


def test_a_late_handler_without_a_transaction_counts(service, caplog):
    now = [0.0]
    consumer = Consumer(service, clock=lambda: now[0])

    @consumer.on(TOPIC, timeout_seconds=5)
    def mail(delivery) -> None:
        now[0] += 6

    assert consumer.receive(delivery()) is Receipt.COMPLETED
    assert "counts as done" in caplog.text


def test_no_more_threads_than_allowed_are_in_a_handler(service):
    consumer = Consumer(service)
    inside, most = [0], [0]
    two_are_inside, lock = threading.Barrier(2), threading.Lock()

    @consumer.on(TOPIC, concurrency=2)
    def count(delivery) -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        two_are_inside.wait(10)
        with lock:
            inside[0] -= 1

    with ThreadPoolExecutor(6) as pool:
        receipts = list(pool.map(lambda number: consumer.receive(delivery(number)), range(6)))
    assert receipts == [Receipt.COMPLETED] * 6
    assert most == [2]


# Asyncio.


@pytest.fixture
async def engine(path):
    """An engine with one connection, so that what is left open in the pool would show."""
    made = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=1, max_overflow=0)
    yield made
    await made.dispose()


async def write_async(delivery, tx) -> None:
    await tx.session.execute(text(INSERT.format(delivery.json()["order"])))


async def test_an_async_handler_works_once(service, engine: AsyncEngine, orders):
    consumer = AsyncConsumer(AwaitedService(service), async_sessionmaker(engine))
    consumer.on(TOPIC, "stock")(write_async)
    assert [await consumer.receive(delivery()) for _ in range(2)] == [Receipt.COMPLETED, Receipt.DUPLICATE]
    assert orders() == [1]


@pytest.mark.parametrize("source", [lambda engine: engine, async_sessionmaker], ids=["engine", "sessions"])
async def test_an_async_handler_that_takes_too_long_is_rolled_back(service, engine, orders, source, caplog):
    consumer = AsyncConsumer(AwaitedService(service), source(engine))
    patient = False

    @consumer.on(TOPIC, "stock", timeout_seconds=0.02)
    async def reserve(delivery, tx) -> None:
        await write_async(delivery, tx)
        if not patient:
            await asyncio.Event().wait()

    assert await consumer.receive(delivery()) is Receipt.RETRY_LATER
    assert (orders(), service.verbs) == ([], [])
    assert "was cancelled after 0.02 s" in caplog.text
    # The pool's only connection is there again, with nothing open on it.
    patient = True
    assert await consumer.receive(delivery()) is Receipt.COMPLETED
    assert orders() == [1]


@pytest.mark.parametrize(
    ("server", "driver", "wait"),
    [("postgres", "asyncpg", "SELECT pg_sleep(60)"), ("mariadb", "asyncmy", "SELECT SLEEP(60)")],
)
async def test_a_statement_that_is_cancelled_in_the_driver_leaves_nothing_open(service, request, server, driver, wait):
    with request.getfixturevalue(server).database() as database:
        # One connection, which is to be fit for use again, or replaced.
        engine = create_async_engine(database.url(driver), pool_size=1, max_overflow=0)
        async with engine.begin() as connection:
            await connection.execute(text(INBOX))
            await connection.execute(text("CREATE TABLE orders (number INTEGER PRIMARY KEY)"))
        consumer = AsyncConsumer(AwaitedService(service), async_sessionmaker(engine))

        @consumer.on(TOPIC, "stock", timeout_seconds=0.2)
        async def reserve(delivery, tx) -> None:
            await write_async(delivery, tx)
            if delivery.attempt == 1:
                await tx.session.execute(text(wait))

        assert await consumer.receive(delivery()) is Receipt.RETRY_LATER
        # Had the row of the first attempt still been locked, this one would wait for it, and be late itself.
        assert await consumer.receive(delivery(attempt=2)) is Receipt.COMPLETED
        await engine.dispose()


async def test_a_handler_that_ignores_its_cancellation_is_undone(service, engine, orders):
    consumer = AsyncConsumer(AwaitedService(service), async_sessionmaker(engine))

    @consumer.on(TOPIC, "stock", timeout_seconds=0.02)
    async def stubborn(delivery, tx) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await write_async(delivery, tx)

    assert await consumer.receive(delivery()) is Receipt.RETRY_LATER
    assert (orders(), service.verbs) == ([], [])


async def test_a_time_out_of_the_handlers_own_is_only_a_bug(service, engine, caplog):
    consumer = AsyncConsumer(AwaitedService(service), engine)

    @consumer.on(TOPIC, timeout_seconds=None)
    async def reserve(delivery, tx) -> None:
        raise TimeoutError("the bank is slow")

    assert await consumer.receive(delivery()) is Receipt.RETRY_LATER
    assert "the bank is slow" in caplog.text


async def test_a_delivery_that_is_cancelled_from_outside_is_undone(service, engine, orders):
    consumer = AsyncConsumer(AwaitedService(service), async_sessionmaker(engine))
    begun = asyncio.Event()

    @consumer.on(TOPIC, "stock")
    async def reserve(delivery, tx) -> None:
        await write_async(delivery, tx)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(consumer.receive(delivery()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (orders(), service.verbs) == ([], [])


async def test_no_more_tasks_than_allowed_are_in_a_handler(service):
    consumer = AsyncConsumer(AwaitedService(service))
    inside, most = 0, 0

    @consumer.on(TOPIC, concurrency=2)
    async def count(delivery) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    receipts = await asyncio.gather(*(consumer.receive(delivery(number)) for number in range(6)))
    assert receipts == [Receipt.COMPLETED] * 6
    assert most == 2


def test_an_async_consumer_serves_more_than_one_loop(service):
    consumer = AsyncConsumer(AwaitedService(service))

    @consumer.on(TOPIC, concurrency=1)
    async def give_way(delivery) -> None:
        await asyncio.sleep(0)

    async def receive_two() -> list[Receipt]:
        return list(await asyncio.gather(consumer.receive(delivery(1)), consumer.receive(delivery(2))))

    assert asyncio.run(receive_two()) + asyncio.run(receive_two()) == [Receipt.COMPLETED] * 4
