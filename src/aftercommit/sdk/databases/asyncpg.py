"""asyncpg: Connection, the connections of its pool, and the pool."""

from asyncio import get_running_loop, sleep
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aftercommit.sdk.databases.dialects import POSTGRESQL
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.places import numbered_places
from aftercommit.sdk.databases.port import Database, Handle, Misused
from aftercommit.sdk.databases.savepoints import Moment, Savepoints


class AsyncpgHandle:
    """A connection, of the user's or of a pool. Outside of a transaction asyncpg commits each statement by itself."""

    blocking = False
    dialect = POSTGRESQL

    def __init__(self, connection: Any) -> None:
        self.target = connection
        self.savepoints = Savepoints()
        self._is_ours = False

    async def begin(self) -> None:
        """Begin a transaction. One that is open already belongs to a block that owns its commit."""
        if self._is_ours and self.in_transaction():
            return
        if self.target.is_in_transaction():
            raise Misused(
                "This connection is inside a transaction() block, which owns the commit. "
                "Enter client.transaction(connection) instead of it."
            )
        # Before it is sent: whoever is cancelled here cannot know whether it arrived, and has to roll back.
        self._is_ours = True
        await self.target.execute(self.dialect.begin)
        self.target.add_query_logger(self._saw)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        return [tuple(row) for row in await self.target.fetch(numbered_places(statement), *parameters)]

    async def flush(self) -> None:
        """Holds nothing back, but hears what the driver has still to tell of its statements: see `watch`."""
        await sleep(0)

    async def commit(self) -> None:
        """Commit."""
        await self.target.execute("COMMIT")
        self._ended()

    async def rollback(self) -> None:
        """Roll back, if something is open or may be: the driver's status is old where a statement was cancelled."""
        try:
            if self._is_ours or self.target.is_in_transaction():
                await self.target.execute("ROLLBACK")
        except BaseException:
            # Nobody knows what is open on it.
            self.target.terminate()
            raise
        finally:
            self._ended()

    def in_transaction(self) -> bool:
        """By the status the server sent last."""
        return bool(self.target.is_in_transaction())

    def watch(self) -> Moment:
        """By the statements of the connection.

        asyncpg tells of each in a later turn of the event loop. So the moment is placed in a later turn, too: after
        the statements that were sent before it, and before those that come after it.
        """
        moment = self.savepoints.watch()
        get_running_loop().call_soon(self.savepoints.place, moment)
        return moment

    def separate(self) -> Database:
        """This connection again; where it was lost there is no other."""
        return SameConnection(self)

    def _ended(self) -> None:
        self.savepoints.ended()
        self._is_ours = False
        self.target.remove_query_logger(self._saw)

    def _saw(self, record: Any) -> None:
        if record.exception is None:
            self.savepoints.saw(record.query)


class AsyncpgPoolDatabase:
    """Connections of a Pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A connection of the pool."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        async with self._pool.acquire() as connection:
            handle = AsyncpgHandle(connection)
            try:
                yield handle
                await handle.rollback()
            except BaseException:
                connection.terminate()
                raise
