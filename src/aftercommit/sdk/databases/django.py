"""Django: the connection of an alias, `django.db.connection` or `django.db.connections["orders"]`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

from django.db import connections, transaction

from aftercommit.sdk.databases.dialects import DIALECTS, Dialect
from aftercommit.sdk.databases.lent import SameConnection
from aftercommit.sdk.databases.places import format_places
from aftercommit.sdk.databases.port import Database, Handle, Misused
from aftercommit.sdk.databases.savepoints import Moment, Savepoints


class DjangoHandle:
    """The connection of an alias in this thread; its transaction is a durable `atomic`."""

    blocking = True

    def __init__(self, connection: Any) -> None:
        # What is given may be a proxy for whichever connection the thread has.
        self.target = connections[connection.alias]
        self.savepoints = Savepoints()
        self.dialect = _dialect_of(self.target.vendor)
        self._atomic: ExitStack | None = None

    async def begin(self) -> None:
        """Enter a durable `atomic`. Django's TestCase is allowed around it, anything else is not."""
        if self._atomic is not None:
            return
        stack = ExitStack()
        try:
            stack.enter_context(transaction.atomic(using=self.target.alias, durable=True))
        except RuntimeError as error:
            raise Misused(
                "This connection is inside an atomic block, which owns the commit. "
                "Enter client.transaction(connection) instead of it, or publish with aftercommit.sdk.django.publish."
            ) from error
        stack.enter_context(self.target.execute_wrapper(self._saw))
        self._atomic = stack

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours."""
        with self.target.cursor() as cursor:
            cursor.execute(format_places(statement) if parameters else statement, tuple(parameters) or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    async def flush(self) -> None:
        """Django holds nothing back."""

    async def commit(self) -> None:
        """Leave the `atomic`. Where Django would roll back instead, because a query failed in it, this raises."""
        atomic = self._left()
        if atomic is None:
            return
        if self.target.needs_rollback:
            error = transaction.TransactionManagementError(
                "A query failed in this transaction; it cannot be committed."
            )
            atomic.__exit__(type(error), error, None)
            raise error
        atomic.close()

    async def rollback(self) -> None:
        """Leave the `atomic` as after an error."""
        atomic = self._left()
        if atomic is not None:
            undone = _Undone()
            atomic.__exit__(_Undone, undone, None)

    def in_transaction(self) -> bool:
        """Whether we entered one."""
        return self._atomic is not None

    def watch(self) -> Moment:
        """By the statements of the connection: inner `atomic` blocks are savepoints."""
        return self.savepoints.watch()

    def separate(self) -> Database:
        """The same connection, after its transaction."""
        return SameConnection(self)

    def _left(self) -> ExitStack | None:
        self.savepoints.ended()
        atomic, self._atomic = self._atomic, None
        return atomic

    def _saw(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.savepoints.saw(sql)
        return execute(sql, params, many, context)


class DjangoDatabase:
    """The connection that the calling thread has for an alias, outside of any `atomic`."""

    def __init__(self, connection: Any) -> None:
        self._alias = connection.alias

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """The thread's connection; Django opens and closes it as ever."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        connection = connections[self._alias]
        handle = DjangoHandle(connection)
        try:
            yield handle
            await handle.rollback()
        except BaseException:
            await handle.rollback()
            if not connection.in_atomic_block:
                # Django opens another one when it is needed.
                connection.close()
            raise


class _Undone(Exception):
    """What an `atomic` sees when it is to roll back."""


def _dialect_of(vendor: str) -> Dialect:
    if vendor not in DIALECTS:
        raise Misused(f"The barrier is made for PostgreSQL, MySQL, MariaDB and SQLite, not for {vendor}.")
    return DIALECTS[vendor]
