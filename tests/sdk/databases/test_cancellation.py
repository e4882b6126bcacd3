"""A task that is cancelled in the middle of a statement: its connection ends closed or clean, never in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.databases.port import Handle
from tests.sdk.databases.drivers import NAMES, Driver
from tests.sdk.databases.drivers import driver as made
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy

AWAITED = [name for name in NAMES if "async" in name or "aiosqlite" in name]
SERVERS = [name for name in AWAITED if NAMES[name] != "sqlite"]
SLOW = Fault(Fate.DELAY, 0.2)


@dataclass
class Line:
    """The way to the server. A piece with `word` in it is slow, and `reached` is set when it comes by."""

    loop: asyncio.AbstractEventLoop
    reached: asyncio.Event
    word: bytes = b"COMMIT"
    slow: bool = False

    def decide(self, piece: bytes) -> Fault:
        if not self.slow or self.word not in piece:
            return FORWARD
        self.slow = False
        self.loop.call_soon_threadsafe(self.reached.set)
        return SLOW


@pytest.fixture
async def line() -> Line:
    """A fast one, so far."""
    return Line(asyncio.get_running_loop(), asyncio.Event())


@pytest.fixture
def proxy(place: Any, line: Line) -> Iterator[FaultProxy]:
    """In front of the server."""
    with FaultProxy(place.port, line.decide) as proxy:
        yield proxy


@pytest.fixture
async def afar(driver_name: str, place: Any, proxy: FaultProxy) -> AsyncIterator[Driver]:
    """The driver, behind the proxy."""
    driver = await made(driver_name, replace(place, port=proxy.port))
    yield driver
    await driver.close()


async def orders(driver: Driver) -> list[int]:
    async with database_of(driver.source).open() as handle:
        rows = await handle.execute("SELECT number FROM orders ORDER BY number")
        await handle.rollback()
    return [number for (number,) in rows]


async def cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def rolled_back(handle: Handle) -> bool:
    """Roll back as the transaction does; whether the connection lives on."""
    try:
        await handle.rollback()
    except Exception:
        assert not handle.in_transaction()
        return False
    assert not handle.in_transaction()
    return True


async def is_clean(driver: Driver, target: Any, handle: Handle) -> bool:
    """Whether what is written now is a transaction of its own; False if the connection is closed."""
    try:
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (100)")
    except Exception:
        assert not handle.in_transaction()
        with pytest.raises(Exception, match=r".*"):
            await handle.execute("SELECT 1")
        return False
    await handle.commit()
    assert not handle.in_transaction()
    return True


@pytest.mark.parametrize("driver_name", SERVERS)
async def test_a_cancelled_commit_leaves_nothing_open(driver, afar, line):
    async with afar.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await afar.run(target, "INSERT INTO orders VALUES (1)")
        line.slow = True
        committing = asyncio.create_task(handle.commit())
        await line.reached.wait()
        await cancelled(committing)
        lives = await rolled_back(handle) and await is_clean(afar, target, handle)
        if lives:
            assert 100 in await orders(driver)


@pytest.mark.parametrize("driver_name", SERVERS)
async def test_a_cancelled_begin_leaves_nothing_open(driver, afar, line):
    async with afar.connect() as target:
        handle = handle_of(target)
        line.word, line.slow = b"BEGIN", True
        if "asyncmy" in afar.name and afar.name.startswith("sqlalchemy"):
            # There SQLAlchemy leaves beginning to the server.
            line.word = b"INSERT"

        async def begin() -> None:
            await handle.begin()
            await afar.run(target, "INSERT INTO orders VALUES (1)")

        beginning = asyncio.create_task(begin())
        await line.reached.wait()
        await cancelled(beginning)
        lives = await rolled_back(handle) and await is_clean(afar, target, handle)
        assert await orders(driver) == ([100] if lives else [])


@pytest.mark.parametrize("driver_name", AWAITED)
async def test_a_cancelled_statement_that_waits_for_a_lock_leaves_nothing_open(driver):
    async with driver.connect() as first, driver.connect() as second:
        one, two = handle_of(first), handle_of(second)
        await one.begin()
        await driver.run(first, "INSERT INTO orders VALUES (1)")

        async def wait() -> None:
            # SQLite waits in BEGIN already.
            await two.begin()
            await driver.run(second, "INSERT INTO orders VALUES (1)")

        waiting = asyncio.create_task(wait())
        await blocked(driver, waiting)
        await cancelled(waiting)
        await one.commit()
        if await rolled_back(two) and await is_clean(driver, second, two):
            assert await orders(driver) == [1, 100]
        else:
            assert await orders(driver) == [1]


async def blocked(driver: Driver, waiting: "asyncio.Task[None]") -> None:
    """Until the task waits for the lock, as the server sees it."""
    asked = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        # InnoDB shows it with a delay; a statement that is under way is near enough.
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'INSERT INTO orders%'",
    }.get(driver.server)
    if asked is None:
        # What waits there is another thread, from the first turn of the loop on.
        for _ in range(10):
            await asyncio.sleep(0)
        return
    async with driver.connect() as observer:
        handle = handle_of(observer)
        while not waiting.done():
            ((found,),) = await handle.execute(asked)
            await handle.rollback()
            if found:
                return


@pytest.mark.parametrize("driver_name", AWAITED)
async def test_a_cancelled_task_gives_its_database_no_open_connection_back(driver):
    database = database_of(driver.source)
    entered = asyncio.Event()

    async def hold() -> None:
        async with database.open() as handle:
            await handle.begin()
            await handle.execute("INSERT INTO orders VALUES (1)")
            entered.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await entered.wait()
    await cancelled(holding)
    async with database.open() as handle:
        assert not handle.in_transaction()
        await handle.begin()
        await handle.execute("INSERT INTO orders VALUES (1)")
        await handle.commit()
    assert await orders(driver) == [1]
