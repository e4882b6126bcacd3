"""What every driver's handle does: the seam of `sdk/databases/port.py`, on real servers."""

import pytest

from aftercommit.sdk.barrier.markers import mark_committed, read_markers, settle
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.databases.failures import Failure, failure_of
from tests.sdk.databases.drivers import Driver

ATTEMPTS = 500
INSERT = "INSERT INTO orders (number) VALUES (1)"


async def orders(driver: Driver) -> int:
    async with database_of(driver.source).open() as handle:
        ((count,),) = await handle.execute("SELECT count(*) FROM orders WHERE number > ?", [0])
        await handle.rollback()
    return int(count)


async def test_what_is_committed_stays_and_what_is_rolled_back_does_not(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, INSERT)
        assert handle.in_transaction()
        await handle.rollback()
        assert not handle.in_transaction()
        await handle.rollback()
        assert await orders(driver) == 0
        await handle.begin()
        await driver.run(target, INSERT)
        await handle.commit()
        assert not handle.in_transaction()
    assert await orders(driver) == 1


async def test_the_users_statement_and_ours_are_one_transaction(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, INSERT)
        await mark_committed(handle, ["a", "b"])
        assert await read_markers(handle, ["a", "b", "c"]) == {"a": Outcome.COMMITTED, "b": Outcome.COMMITTED}
        await handle.rollback()
    assert await orders(driver) == 0
    assert await settle(database_of(driver.source), ["a"]) == {"a": Outcome.ROLLED_BACK}


async def test_a_marker_that_is_there_is_a_duplicate(driver):
    assert await settle(database_of(driver.source), ["a"]) == {"a": Outcome.ROLLED_BACK}
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        with pytest.raises(Exception, match=r".") as raised:
            await mark_committed(handle, ["b", "a"])
        assert failure_of(raised.value) is Failure.DUPLICATE
        await handle.rollback()
        assert await read_markers(handle, ["a", "b"]) == {"a": Outcome.ROLLED_BACK}
        await handle.rollback()


async def test_a_check_meets_an_open_transaction_and_then_its_commit(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await mark_committed(handle, ["a"])
        assert await settle(database_of(driver.source), ["a"]) == {"a": Outcome.UNKNOWN}
        await handle.commit()
    assert await settle(database_of(driver.source), ["a", "b"]) == {"a": Outcome.COMMITTED, "b": Outcome.ROLLED_BACK}


async def test_a_rolled_back_moment_is_over(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        moment = handle.watch()
        assert moment.kept
        await handle.rollback()
        assert moment.ended


async def test_every_statement_of_ours_runs(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        dialect = handle.dialect
        await handle.begin()
        await mark_committed(handle, ["a"])
        await handle.execute(dialect.receive(), ["stock", "a"])
        await handle.execute(dialect.store(2), ["a", b"\x00\xff", "b", b"{}"])
        stored = await handle.execute(dialect.stored(), ["", 10])
        assert [(message_id, bytes(message)) for message_id, message in stored] == [("a", b"\x00\xff"), ("b", b"{}")]
        assert await handle.execute(dialect.old_markers(), [30, "", 10]) == []
        assert await handle.execute(dialect.old_receipts(), ["stock", 30, "", 10]) == []
        # By an age of no days even what was written just now is old, and so its time is in the past.
        assert await handle.execute(dialect.old_markers(), [-1, "", 10]) == [("a",)]
        assert await handle.execute(dialect.old_receipts(), ["stock", -1, "", 10]) == [("a",)]
        assert await handle.execute(dialect.newest_markers(), [10]) == [("a",)]
        assert await handle.execute(dialect.newest_receipts(), ["stock", 10]) == [("a",)]
        assert await handle.execute(dialect.received(), ["stock", "a"]) == [("a",)]
        await handle.execute(dialect.relayed(2), ["a", "b"])
        await handle.execute(dialect.forget_markers(1), ["a"])
        await handle.execute(dialect.forget_receipts(1), ["stock", "a"])
        await handle.commit()
        assert await read_markers(handle, ["a"]) == {}
        await handle.rollback()
    assert await settle(database_of(driver.source), ["a"]) == {"a": Outcome.ROLLED_BACK}


async def test_a_database_that_was_left_by_an_error_leaves_nothing_behind(driver):
    database = database_of(driver.source)
    with pytest.raises(KeyError):
        async with database.open() as handle:
            await handle.begin()
            await mark_committed(handle, ["a"])
            raise KeyError
    # A connection that was closed without a word is rolled back when its server notices.
    for _ in range(100):
        outcomes = await settle(database, ["a"])
        if outcomes["a"] is not Outcome.UNKNOWN:
            break
    assert outcomes == {"a": Outcome.ROLLED_BACK}


async def test_a_check_leaves_the_settings_of_a_connection_as_they_were(driver):
    database = database_of(driver.source)
    async with database.open() as handle:
        saved = handle.dialect.saved
        before = await handle.execute(saved.read) if saved else []
        await handle.rollback()
    await settle(database, ["a"])
    async with database.open() as handle:
        assert (await handle.execute(saved.read) if saved else []) == before
        await handle.rollback()
