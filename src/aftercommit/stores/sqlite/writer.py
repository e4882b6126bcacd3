"""The writing side: one thread with one connection; a transaction is one visit to it."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from aftercommit.domain.errors import AfterCommitError, StoreUnavailable
from aftercommit.stores.sqlite.connection import connect_writer, told_as_ours

T = TypeVar("T")


class WriterThread:
    """Runs transactions one after the other, in the order they were asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self, prepare: Callable[[sqlite3.Connection], T]) -> T:
        """Connect, and let `prepare` look at the database outside of a transaction."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aftercommit-writer")
        try:
            return await self._visit(lambda: self._prepared(prepare))
        except BaseException:
            await self.close()
            raise

    async def transact(
        self, work: Callable[[sqlite3.Connection], T], committed: Callable[[T], None] | None = None
    ) -> T:
        """Run `work` in a transaction that is durable when this returns; then, before any other, `committed`.

        Raises `StoreUnavailable` when it cannot be; whatever else `work` raises undoes it as well. Once begun it goes
        on to its end, also when the caller is cancelled.
        """
        return await self._visit(lambda: self._transacted(work, committed))

    async def close(self) -> None:
        """Finish what was asked for and disconnect."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(executor, self._disconnect))
            executor.shutdown(wait=False)

    async def _visit(self, job: Callable[[], T]) -> T:
        if self._executor is None:
            raise StoreUnavailable(f"The store {self._path} is closed.")
        # Shielded: a caller that goes away must not make a transaction that others wait behind stop half way.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._executor, job))

    def _prepared(self, prepare: Callable[[sqlite3.Connection], T]) -> T:
        with told_as_ours("open the database"):
            return prepare(self._connected())

    def _transacted(self, work: Callable[[sqlite3.Connection], T], committed: Callable[[T], None] | None) -> T:
        with told_as_ours("write"):
            connection = self._connected()
            with self._transaction(connection):
                result = work(connection)
        if committed is not None:
            committed(result)
        return result

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect_writer(self._path)
        return self._connection

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")
        except AfterCommitError:
            self._roll_back(connection)
            raise
        except sqlite3.Error:
            # After an error of the disk nothing that this connection believes can be relied on, least of all after
            # one in COMMIT: the next transaction begins with what the file says.
            self._roll_back(connection)
            self._drop()
            raise
        except BaseException:
            self._roll_back(connection)
            raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing undoes it as well: what is not committed is not in the file.
            self._drop()

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
