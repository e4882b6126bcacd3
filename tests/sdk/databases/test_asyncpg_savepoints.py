"""What asyncpg tells of savepoints comes a turn of the loop late, and must be put in its place all the same."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.tables import ddl
from aftercommit.sdk.transactions.transaction import AsyncTransaction, handle_for
from tests.sdk.transactions.recorder import Recorder


class Failed(Exception):
    """What is done in a savepoint goes wrong."""


@pytest.fixture
async def connection(postgres) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with our tables."""
    with postgres.database() as database:
        made = await asyncpg.connect(database.url())
        for statement in ddl("postgresql"):
            await made.execute(statement)
        yield made
        await made.close()


@pytest.fixture
def service() -> Recorder:
    """A service that takes everything."""
    return Recorder()


def transaction(service: Recorder, connection: asyncpg.Connection) -> AsyncTransaction:
    return AsyncTransaction(service, handle_for(connection, blocking=False))


async def marked(connection: asyncpg.Connection) -> set[str]:
    rows = await connection.fetch("SELECT message_id, outcome FROM aftercommit_outcome")
    assert {row["outcome"] for row in rows} <= {Outcome.COMMITTED}
    return {row["message_id"] for row in rows}


async def test_what_a_savepoint_of_ours_takes_back_is_not_published_and_what_comes_after_it_is(service, connection):
    async with transaction(service, connection) as tx:
        before = tx.publish("t", 1)
        with pytest.raises(Failed):
            async with tx.savepoint():
                tx.publish("t", 2)
                await connection.execute("SELECT 1")
                raise Failed
        after = tx.publish("t", 3)
        async with tx.savepoint():
            inside = tx.publish("t", 4)
    assert service.ids("prepare") == service.ids("confirm") == [before, after, inside]
    assert await marked(connection) == {before, after, inside}


async def test_what_a_savepoint_by_hand_takes_back_is_not_published(service, connection):
    async with transaction(service, connection) as tx:
        await connection.execute("SAVEPOINT mine")
        # Nothing is awaited between the savepoint and this.
        tx.publish("t", 1)
        await connection.execute("ROLLBACK TO SAVEPOINT mine")
        kept = tx.publish("t", 2)
        await connection.execute("SAVEPOINT mine")
        also = tx.publish("t", 3)
        await connection.execute("RELEASE SAVEPOINT mine")
    assert service.ids("prepare") == [kept, also]
    assert await marked(connection) == {kept, also}


async def test_one_transaction_after_the_other_hears_nothing_of_it(service, connection):
    with pytest.raises(Failed):
        async with transaction(service, connection):
            await connection.execute("SAVEPOINT mine")
            raise Failed
    async with transaction(service, connection) as tx:
        kept = tx.publish("t", 1)
        await connection.execute("SAVEPOINT mine")
        await connection.execute("ROLLBACK TO SAVEPOINT mine")
    assert service.ids("prepare") == [kept]
    assert await marked(connection) == {kept}
