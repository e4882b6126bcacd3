"""What becomes of a moment inside a transaction: savepoints, and commits and rollbacks that are not ours."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import isawaitable
from typing import Any

import pytest

from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction
from tests.sdk.databases.drivers import NAMES, Driver
from tests.sdk.transactions.recorder import Recorder

AUTOCOMMIT = [name for name in NAMES if "autocommit" in name or name == "asyncpg"]


class Undone(Exception):
    """What a savepoint is left by."""


async def awaited(value: Any) -> Any:
    return await value if isawaitable(value) else value


@asynccontextmanager
async def entered(block: Any) -> AsyncIterator[Any]:
    """A block of either kind."""
    if isinstance(block, AbstractAsyncContextManager):
        async with block as value:
            yield value
    else:
        with block as value:
            yield value


def savepoint(driver: Driver, target: Any, tx: Any) -> Any:
    """A savepoint as the user of this driver sets it."""
    if driver.name.startswith("sqlalchemy"):
        return target.begin_nested()
    return target.transaction() if driver.name == "asyncpg" else tx.savepoint()


async def numbers(driver: Driver) -> list[int]:
    async with database_of(driver.source).open() as handle:
        rows = await handle.execute("SELECT number FROM orders ORDER BY number")
        await handle.rollback()
    return [number for (number,) in rows]


async def test_a_message_goes_with_its_savepoint(driver):
    service = Recorder()
    async with driver.connect() as target:
        handle = handle_of(target)
        begin = Transaction if handle.blocking else AsyncTransaction
        async with entered(begin(service, handle)) as tx:
            await driver.run(target, "INSERT INTO orders VALUES (1)")
            kept = [tx.publish("orders", 1)]
            with pytest.raises(Undone):
                async with entered(savepoint(driver, target, tx)):
                    await driver.run(target, "INSERT INTO orders VALUES (2)")
                    tx.publish("orders", 2)
                    async with entered(savepoint(driver, target, tx)):
                        tx.publish("orders", 3)
                    raise Undone
            async with entered(savepoint(driver, target, tx)):
                kept.append(tx.publish("orders", 4))
                await driver.run(target, "INSERT INTO orders VALUES (4)")
            kept.append(tx.publish("orders", 5))
    assert service.ids("prepare") == service.ids("confirm") == kept
    assert await numbers(driver) == [1, 4]


@pytest.mark.parametrize("ending", ["rollback", "commit"])
async def test_a_transaction_that_ends_inside_the_block_is_found_out_even_if_another_follows(driver, ending):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        moment = handle.watch()
        if driver.name == "asyncpg":
            await target.execute(ending)
            await target.execute("BEGIN")
        else:
            await awaited(getattr(target, ending)())
        await driver.run(target, "INSERT INTO orders VALUES (2)")
        await handle.flush()
        # In autocommit nothing is open now, which tells as much.
        assert moment.ended or not handle.in_transaction()
        await handle.rollback()


async def test_a_transaction_that_goes_on_is_no_other(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        for _ in range(2):
            await handle.begin()
            await driver.run(target, "SELECT 1")
            moment = handle.watch()
            await handle.flush()
            assert moment.kept
            assert not moment.ended
            assert handle.in_transaction()
            await handle.rollback()
            assert moment.ended


@pytest.mark.parametrize("driver_name", [name for name in NAMES if name not in AUTOCOMMIT])
async def test_the_transaction_that_is_open_is_joined(driver):
    async with driver.connect() as target:
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (2)")
        await handle.rollback()
        assert await numbers(driver) == []
        await driver.run(target, "INSERT INTO orders VALUES (3)")
        await handle.begin()
        await handle.commit()
    assert await numbers(driver) == [3]


@pytest.mark.parametrize("driver_name", AUTOCOMMIT)
async def test_autocommit_stays_autocommit(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        await handle.rollback()
        await driver.run(target, "INSERT INTO orders VALUES (2)")
        assert not handle.in_transaction()
        assert await numbers(driver) == [2]
        await handle.begin()
        await handle.commit()
        await driver.run(target, "INSERT INTO orders VALUES (3)")
    assert await numbers(driver) == [2, 3]
