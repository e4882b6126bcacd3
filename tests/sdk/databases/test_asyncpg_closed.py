"""A connection of asyncpg that was lost and closed: the driver's error comes out, not one of how it is built inside."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from aftercommit.sdk.barrier.markers import settle
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.tables import ddl


@pytest.fixture
async def connection(postgres) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with our tables."""
    with postgres.database() as database:
        made = await asyncpg.connect(database.url())
        for statement in ddl("postgresql"):
            await made.execute(statement)
        yield made
        await made.close()


async def test_a_closed_connection_is_in_no_transaction_and_begins_none(connection):
    handle = handle_of(connection)
    connection.terminate()
    assert not handle.in_transaction()
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await handle.begin()
    await handle.rollback()
    assert await settle(handle.separate(), ["a"]) == {"a": Outcome.UNKNOWN}
