"""psycopg 3: Connection and AsyncConnection, and the pools of psycopg_pool."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from aftercommit.sdk.databases.dialects import POSTGRESQL
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.places import format_places
from aftercommit.sdk.databases.port import Database, Handle, Misused
from aftercommit.sdk.databases.savepoints import Moment, Savepoints

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool


# A setting that lasts as long as the transaction, so that it tells one from the next. Setting it takes no snapshot, and
# so the user may still choose the isolation level.
_SETTING: Final = "aftercommit.transaction"
_NUMBERS: Final = count(1)


class _Psycopg(ABC):
    """What both kinds of connection share."""

    dialect = POSTGRESQL

    def __init__(self, connection: Any) -> None:
        self.target = connection
        self.savepoints = Savepoints()
        self._number = ""

    async def begin(self) -> None:
        """Join the transaction that is open, or begin one."""
        self._require_own_commit()
        if self.target.autocommit and not self.in_transaction():
            await self.execute(self.dialect.begin)
        self._number = str(next(_NUMBERS))
        await self.execute(f"SET LOCAL {_SETTING} = '{self._number}'")

    async def flush(self) -> None:
        """Holds nothing back, but sees whether this is still the transaction of `begin`."""
        if not self.in_transaction():
            return
        ((number,),) = await self.execute("SELECT current_setting(?, true)", [_SETTING])
        if number != self._number:
            self.savepoints.ended()

    @abstractmethod
    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""

    def in_transaction(self) -> bool:
        """By the status the server sent last; an aborted transaction is one too."""
        return self.target.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def watch(self) -> Moment:
        """By the savepoints we set; a commit or rollback in between is found out by `flush`.

        Raises `Misused` inside of psycopg's own transaction() blocks, which nobody tells us how they end.
        """
        self._require_own_commit()
        return self.savepoints.watch()

    def separate(self) -> Database:
        """This connection again; where it was lost there is no other."""
        return SameConnection(self)  # type: ignore[arg-type] # only the two classes below are made

    def _require_own_commit(self) -> None:
        # The count is psycopg's own; where it is missing, commit() refuses by itself, only later.
        if getattr(self.target, "_num_transactions", 0):
            raise Misused(
                "This connection is inside its own transaction() block, which owns the commit. "
                "Enter client.transaction(connection) instead of it, and tx.savepoint() inside."
            )


class PsycopgHandle(_Psycopg):
    """A Connection. In autocommit mode we begin by statement, and it is left in that mode."""

    blocking = True

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        with self.target.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(format_places(statement), tuple(parameters))
            return cursor.fetchall() if cursor.description else []

    async def commit(self) -> None:
        """Commit."""
        self.target.commit()
        self.savepoints.ended()

    async def rollback(self) -> None:
        """Roll back."""
        self.savepoints.ended()
        self.target.rollback()


class AsyncPsycopgHandle(_Psycopg):
    """An AsyncConnection."""

    blocking = False

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        async with self.target.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(format_places(statement), tuple(parameters))
            return await cursor.fetchall() if cursor.description else []

    async def commit(self) -> None:
        """Commit."""
        await self.target.commit()
        self.savepoints.ended()

    async def rollback(self) -> None:
        """Roll back."""
        self.savepoints.ended()
        await self.target.rollback()


class PsycopgPoolDatabase:
    """Connections of a ConnectionPool."""

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A connection of the pool."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        connection = self._pool.getconn()
        try:
            yield PsycopgHandle(connection)
            connection.rollback()
        except BaseException:
            # A pool takes a closed connection back and makes a new one.
            connection.close()
            raise
        finally:
            self._pool.putconn(connection)


class AsyncPsycopgPoolDatabase:
    """Connections of an AsyncConnectionPool."""

    def __init__(self, pool: "AsyncConnectionPool[AsyncConnection]") -> None:
        self._pool = pool

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A connection of the pool."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        connection = await self._pool.getconn()
        try:
            yield AsyncPsycopgHandle(connection)
            await connection.rollback()
        except BaseException:
            await connection.close()
            raise
        finally:
            await self._pool.putconn(connection)
