"""The standard library's sqlite3."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from aftercommit.sdk.databases.dialects import SQLITE
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.port import Database
from aftercommit.sdk.databases.savepoints import Moment, Savepoints
from aftercommit.sdk.databases.whole import WHOLE, require_whole


class SqliteHandle:
    """A connection of the user's, or of ours, in any of the modes of its `isolation_level`."""

    blocking = True
    dialect = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.target = connection
        self.savepoints = Savepoints()

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one that may write."""
        if not self._connection.in_transaction:
            self._connection.execute(self.dialect.begin)
        self._connection.execute(WHOLE)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        with closing(self._connection.cursor()) as cursor:
            # Rows as tuples, whatever row factory the user's connection has.
            cursor.row_factory = None
            return cursor.execute(statement, tuple(parameters)).fetchall()

    async def flush(self) -> None:
        """Holds nothing back, but sees whether this is still the transaction of `begin`."""
        await require_whole(self, self.savepoints)

    async def commit(self) -> None:
        """Commit; by statement, because in some modes `commit()` does nothing."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")
        self.savepoints.ended()

    async def rollback(self) -> None:
        """Roll back."""
        self.savepoints.ended()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def in_transaction(self) -> bool:
        """By the driver's own flag."""
        return self._connection.in_transaction

    def watch(self) -> Moment:
        """By the savepoints we set; a commit or rollback in between is found out by `flush`."""
        return self.savepoints.watch()

    def separate(self) -> Database:
        """This connection again: it does not get lost, and ours may be the only one to a database in memory."""
        return SameConnection(self)
