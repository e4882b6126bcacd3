"""PyMySQL: Connection."""

from collections.abc import Sequence
from typing import Any, Final

from pymysql.connections import Connection
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS
from pymysql.cursors import Cursor

from aftercommit.sdk.databases.dialects import MYSQL
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.places import format_places
from aftercommit.sdk.databases.port import Database
from aftercommit.sdk.databases.savepoints import Moment, Savepoints
from aftercommit.sdk.databases.whole import WHOLE, require_whole

_IN_TRANSACTION: Final = int(SERVER_STATUS_IN_TRANS)


class PyMySqlHandle:
    """A connection. In autocommit mode we begin by statement, and it is left in that mode."""

    blocking = True
    dialect = MYSQL

    def __init__(self, connection: "Connection[Any]") -> None:
        self.target = connection
        self.savepoints = Savepoints()

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        if not self.in_transaction():
            self.target.begin()
        await self.execute(WHOLE)

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        with self.target.cursor(Cursor) as cursor:
            cursor.execute(format_places(statement) if parameters else statement, tuple(parameters) or None)
            return list(cursor.fetchall()) if cursor.description else []

    async def flush(self) -> None:
        """Holds nothing back, but sees whether this is still the transaction of `begin`."""
        await require_whole(self, self.savepoints)

    async def commit(self) -> None:
        """Commit."""
        self.target.commit()
        self.savepoints.ended()

    async def rollback(self) -> None:
        """Roll back."""
        self.savepoints.ended()
        self.target.rollback()

    def in_transaction(self) -> bool:
        """By the status the server sent last."""
        return self.target.open and bool(self.target.server_status & _IN_TRANSACTION)

    def watch(self) -> Moment:
        """By the savepoints we set; a commit or rollback in between is found out by `flush`."""
        return self.savepoints.watch()

    def separate(self) -> Database:
        """This connection again; where it was lost there is no other."""
        return SameConnection(self)
