"""asyncmy: Connection and Pool."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from asyncmy.cursors import Cursor

from aftercommit.sdk.databases.dialects import MYSQL
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.places import format_places
from aftercommit.sdk.databases.port import Database, Handle
from aftercommit.sdk.databases.savepoints import Moment, Savepoints
from aftercommit.sdk.databases.whole import WHOLE, require_whole


class AsyncMyHandle:
    """A connection. In autocommit mode we begin by statement, and it is left in that mode."""

    blocking = False
    dialect = MYSQL

    def __init__(self, connection: Any) -> None:
        self.target = connection
        self.savepoints = Savepoints()

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        if not self.in_transaction():
            await self.target.begin()
        await self.execute(WHOLE)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        async with self.target.cursor(Cursor) as cursor:
            await cursor.execute(format_places(statement) if parameters else statement, tuple(parameters) or None)
            return [tuple(row) for row in await cursor.fetchall()] if cursor.description else []

    async def flush(self) -> None:
        """Holds nothing back, but sees whether this is still the transaction of `begin`."""
        await require_whole(self, self.savepoints)

    async def commit(self) -> None:
        """Commit."""
        await self.target.commit()
        self.savepoints.ended()

    async def rollback(self) -> None:
        """Roll back."""
        self.savepoints.ended()
        await self.target.rollback()

    def in_transaction(self) -> bool:
        """By the status the server sent last."""
        return bool(self.target.connected and self.target.get_transaction_status())

    def watch(self) -> Moment:
        """By the savepoints we set; a commit or rollback in between is found out by `flush`."""
        return self.savepoints.watch()

    def separate(self) -> Database:
        """This connection again; where it was lost there is no other."""
        return SameConnection(self)


class AsyncMyPoolDatabase:
    """Connections of a Pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A connection of the pool."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        async with self._pool.acquire() as connection:
            handle = AsyncMyHandle(connection)
            try:
                yield handle
                await handle.rollback()
            except BaseException:
                # Closed, so that the pool lets go of it.
                connection.close()
                raise
