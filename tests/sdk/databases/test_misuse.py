"""What cannot carry a transaction of ours is refused in a sentence, and left as it was."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction
from tests.sdk.databases.drivers import NAMES, Driver
from tests.sdk.transactions.recorder import Recorder

OWN_BLOCKS = [name for name in NAMES if name.startswith(("psycopg", "asyncpg"))]
SQLALCHEMY = [name for name in NAMES if name.startswith("sqlalchemy")]


async def refused(target: Any) -> str:
    """What is said to whoever enters a transaction on it."""
    handle = handle_of(target)
    with pytest.raises(Misused) as raised:
        if handle.blocking:
            with Transaction(Recorder(), handle):
                pass
        else:
            async with AsyncTransaction(Recorder(), handle):
                pass
    return str(raised.value)


async def orders(driver: Driver) -> int:
    async with database_of(driver.source).open() as handle:
        ((found,),) = await handle.execute("SELECT count(*) FROM orders")
        await handle.rollback()
    return int(found)


@asynccontextmanager
async def entered(block: Any) -> AsyncIterator[None]:
    """A block of either kind."""
    if isinstance(block, AbstractAsyncContextManager):
        async with block:
            yield
    else:
        with block:
            yield


@pytest.mark.parametrize("driver_name", OWN_BLOCKS)
async def test_a_drivers_own_transaction_block_is_refused_and_still_commits(driver):
    async with driver.connect() as target:
        async with entered(target.transaction()):
            await driver.run(target, "INSERT INTO orders VALUES (1)")
            assert "client.transaction" in await refused(target)
            await driver.run(target, "INSERT INTO orders VALUES (2)")
        assert await orders(driver) == 2


@pytest.mark.parametrize("driver_name", SQLALCHEMY)
async def test_sqlalchemys_own_transaction_block_is_refused_and_still_commits(driver):
    async with driver.connect() as target:
        async with entered(target.begin()):
            await driver.run(target, "INSERT INTO orders VALUES (1)")
            assert "begin() block" in await refused(target)
            await driver.run(target, "INSERT INTO orders VALUES (2)")
        assert await orders(driver) == 2


@pytest.mark.parametrize("driver_name", SQLALCHEMY)
async def test_a_savepoint_of_sqlalchemys_is_refused(driver):
    async with driver.connect() as target:
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        async with entered(target.begin_nested()):
            assert "savepoint" in await refused(target)
        handle = handle_of(target)
        await handle.begin()
        await handle.commit()
        assert await orders(driver) == 1


@pytest.mark.parametrize("driver_name", [name for name in SQLALCHEMY if "connection" in name])
async def test_autocommit_of_sqlalchemys_is_refused(driver):
    async with driver.connect() as target:
        made = target.execution_options(isolation_level="AUTOCOMMIT")
        assert "AUTOCOMMIT" in await refused(await made if "async" in driver.name else made)


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint"])
@pytest.mark.parametrize("driver_name", ["sqlalchemy connection, psycopg", "sqlalchemy connection, sqlite"])
async def test_a_session_on_a_connection_whose_transaction_is_not_its_own_is_refused(driver, mode):
    from sqlalchemy.orm import Session

    async with driver.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode=mode) as session:
            await driver.run(session, "INSERT INTO orders VALUES (1)")
            assert "began outside" in await refused(session)
        outer.rollback()
        assert await orders(driver) == 0


@pytest.mark.parametrize("driver_name", [name for name in NAMES if name.startswith("psycopg")])
async def test_publishing_inside_psycopgs_own_savepoint_is_refused(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        async with entered(target.transaction()):
            with pytest.raises(Misused, match="savepoint"):
                handle.watch()
        assert handle.watch().kept
        await handle.rollback()


@pytest.mark.parametrize("driver_name", ["sqlalchemy session, psycopg", "sqlalchemy async session, asyncpg"])
async def test_a_scoped_session_is_the_session_of_its_scope(driver):
    from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker
    from sqlalchemy.orm import scoped_session, sessionmaker

    if "async" in driver.name:
        scoped: Any = async_scoped_session(async_sessionmaker(driver.source), scopefunc=lambda: 1)
    else:
        scoped = scoped_session(sessionmaker(driver.source))
    handle = handle_of(scoped)
    assert handle.target is scoped()
    await handle.begin()
    await driver.run(scoped, "INSERT INTO orders VALUES (1)")
    await handle.commit()
    removed = scoped.remove()
    if removed is not None:
        await removed
    assert await orders(driver) == 1


def test_anything_else_is_refused_by_its_name():
    with pytest.raises(Misused, match=r"builtins\.object"):
        handle_of(object())
    with pytest.raises(Misused, match=r"builtins\.int"):
        database_of(7)


async def test_a_function_that_does_not_connect_is_refused():
    with pytest.raises(Misused, match=r"builtins\.int"):
        async with database_of(lambda: 7).open():
            pass
