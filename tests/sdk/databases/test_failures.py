"""What a database's errors mean, whichever driver raised them: real deadlocks, real constraints, real conflicts."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.databases.failures import Failure, commit_is_uncertain, failure_of
from aftercommit.sdk.databases.port import Handle
from tests.sdk.databases.drivers import NAMES, Driver

POSTGRESQL = [name for name, server in NAMES.items() if server == "postgresql"]
SERVERS = [name for name, server in NAMES.items() if server != "sqlite"]
DEFERRED = [name for name, server in NAMES.items() if server != "mysql"]


async def aside(handle: Handle, work: Awaitable[Any]) -> Any:
    """Do work that waits for somebody else: a blocking driver's in a thread of its own."""
    return await (asyncio.to_thread(run_now, work) if handle.blocking else work)  # type: ignore[arg-type]


async def count(driver: Driver) -> int:
    async with database_of(driver.source).open() as handle:
        ((found,),) = await handle.execute("SELECT count(*) FROM orders")
        await handle.rollback()
    return int(found)


async def test_a_duplicate_of_the_users_own_is_told_and_certain(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        with pytest.raises(Exception, match=r".*") as raised:
            await driver.run(target, "INSERT INTO orders VALUES (1)")
        assert failure_of(raised.value) is Failure.DUPLICATE
        await handle.rollback()


async def test_an_error_of_any_other_kind_is_other(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        with pytest.raises(Exception, match=r".*") as raised:
            await handle.execute("SELECT nothing FROM nowhere")
        assert failure_of(raised.value) is Failure.OTHER
        await handle.rollback()
        assert not handle.in_transaction()


@pytest.mark.parametrize("driver_name", SERVERS)
async def test_a_deadlock_is_blocked_and_certain(driver):
    async with driver.connect() as first, driver.connect() as second:
        one, two = handle_of(first), handle_of(second)
        await one.begin()
        await two.begin()
        if driver.server == "postgresql":
            for handle in (one, two):
                await handle.execute("SET LOCAL deadlock_timeout = '10ms'")
        await driver.run(first, "INSERT INTO orders VALUES (1)")
        await driver.run(second, "INSERT INTO orders VALUES (2)")
        results = await asyncio.gather(
            aside(one, driver.run(first, "INSERT INTO orders VALUES (2)")),
            aside(two, driver.run(second, "INSERT INTO orders VALUES (1)")),
            return_exceptions=True,
        )
        errors = [each for each in results if isinstance(each, Exception)]
        # The loser's rollback lets the winner's INSERT through.
        assert [failure_of(each) for each in errors] == [Failure.BLOCKED]
        assert not commit_is_uncertain(errors[0])
        await one.rollback()
        await two.rollback()
    assert await count(driver) == 0


@pytest.mark.parametrize("driver_name", POSTGRESQL)
async def test_the_isolation_level_is_the_users_and_a_conflict_in_it_is_blocked(driver):
    async with driver.connect() as first, driver.connect() as second:
        one, two = handle_of(first), handle_of(second)
        await two.begin()
        await driver.run(second, "INSERT INTO orders VALUES (1)")
        await two.commit()
        await one.begin()
        await driver.run(first, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await driver.run(first, "SELECT * FROM orders")
        await two.begin()
        await driver.run(second, "UPDATE orders SET number = 2 WHERE number = 1")
        await two.commit()
        with pytest.raises(Exception, match=r".*") as raised:
            await driver.run(first, "UPDATE orders SET number = 3 WHERE number = 1")
        assert failure_of(raised.value) is Failure.BLOCKED
        assert not commit_is_uncertain(raised.value)
        await one.rollback()


@pytest.mark.parametrize("driver_name", DEFERRED)
async def test_a_commit_that_a_constraint_refuses_is_certain_and_leaves_the_connection_clean(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        if driver.server == "sqlite":
            await handle.execute("PRAGMA foreign_keys = ON")
            await handle.rollback()
        await handle.begin()
        await driver.run(
            target, "CREATE TABLE lines (number integer REFERENCES orders (number) DEFERRABLE INITIALLY DEFERRED)"
        )
        await handle.commit()
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        await driver.run(target, "INSERT INTO lines VALUES (2)")
        with pytest.raises(Exception, match=r".*") as raised:
            await handle.commit()
        assert not commit_is_uncertain(raised.value)
        assert failure_of(raised.value) is Failure.OTHER
        await handle.rollback()
        assert not handle.in_transaction()
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (3)")
        await handle.commit()
    assert await count(driver) == 1
