"""asyncpg: Connection, the connections of its pool, and the pool."""

from asyncio import get_running_loop, sleep
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from asyncpg import InterfaceError
from asyncpg.transaction import Transaction

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
        self._transaction: Transaction | None = None
        self._commit_failed = False

    async def begin(self) -> None:
        """Begin a transaction. One that is open already belongs to a block that owns its commit."""
        if self._transaction is not None:
            return
        if self.target.is_closed():
            # The driver would trip over what it has taken apart.
            raise InterfaceError("connection is closed")
        if self.in_transaction():
            raise Misused(
                "This connection is inside a transaction() block, which owns the commit. "
                "Enter client.transaction(connection) instead of it."
            )
        # The driver's own transaction, so that the user's transaction() blocks inside it are savepoints.
        transaction = self.target.transaction()
        try:
            await transaction.start()
        except BaseException:
            self._terminate()
            raise
        self._transaction, self._commit_failed = transaction, False
        self.target.add_query_logger(self._saw)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        return [tuple(row) for row in await self.target.fetch(numbered_places(statement), *parameters)]

    async def flush(self) -> None:
        """Holds nothing back, but hears what the driver has still to tell of its statements: see `watch`."""
        await sleep(0)

    async def commit(self) -> None:
        """Commit."""
        if self._transaction is not None:
            self._commit_failed = True
            await self._transaction.commit()
            self._ended()

    async def rollback(self) -> None:
        """Roll back what we began. A connection on which that fails is closed, whatever may be open on it."""
        try:
            if self._commit_failed:
                # The driver's transaction is over for it; and its status is old where the COMMIT was cancelled.
                await self.target.execute("ROLLBACK")
            elif self._transaction is not None:
                await self._transaction.rollback()
        except BaseException:
            self._terminate()
            raise
        finally:
            self._ended()

    def in_transaction(self) -> bool:
        """By the status the server sent last; a connection that was lost has left its pool, and answers nothing."""
        try:
            return not self.target.is_closed() and bool(self.target.is_in_transaction())
        except InterfaceError:
            return False

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
        self._transaction, self._commit_failed = None, False
        with suppress(InterfaceError):
            self.target.remove_query_logger(self._saw)

    def _terminate(self) -> None:
        with suppress(InterfaceError):
            self.target.terminate()

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
                # Closed, so that the pool lets go of it.
                connection.terminate()
                raise
