"""aiosqlite: Connection."""

from collections.abc import Sequence
from typing import Any

from aiosqlite import Connection

from aftercommit.sdk.databases.dialects import SQLITE
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.port import Database
from aftercommit.sdk.databases.savepoints import Moment, Savepoints
from aftercommit.sdk.databases.whole import WHOLE, require_whole


class AioSqliteHandle:
    """A connection, in any of the modes of its `isolation_level`."""

    blocking = False
    dialect = SQLITE

    def __init__(self, connection: Connection) -> None:
        self.target = connection
        self.savepoints = Savepoints()

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one that may write."""
        if not self.target.in_transaction:
            await self._run(self.dialect.begin)
        await self._run(WHOLE)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        async with self.target.execute(statement, tuple(parameters)) as cursor:
            # Rows as tuples, whatever row factory the user's connection has.
            return [tuple(row) for row in await cursor.fetchall()]

    async def flush(self) -> None:
        """Holds nothing back, but sees whether this is still the transaction of `begin`."""
        await require_whole(self, self.savepoints)

    async def commit(self) -> None:
        """Commit; by statement, because in some modes `commit()` does nothing."""
        if self.target.in_transaction:
            await self._run("COMMIT")
        self.savepoints.ended()

    async def rollback(self) -> None:
        """Roll back, in the driver's own thread: a statement that was cancelled here may still be under way there."""
        self.savepoints.ended()
        await self.target.rollback()
        if self.target.in_transaction:
            # In some modes `rollback()` does nothing.
            await self._run("ROLLBACK")

    def in_transaction(self) -> bool:
        """By the driver's own flag."""
        return self.target.in_transaction

    def watch(self) -> Moment:
        """By the savepoints we set; a commit or rollback in between is found out by `flush`."""
        return self.savepoints.watch()

    def separate(self) -> Database:
        """This connection again: ours may be the only one to a database in memory."""
        return SameConnection(self)

    async def _run(self, statement: str) -> None:
        async with self.target.execute(statement):
            pass
