"""A few connections for many tasks. One that was in doubt never comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aftercommit.domain.errors import CallerError, StoreUnavailable
from aftercommit.stores.sql.session import Collision, Duplicate, Session

WAIT_SECONDS: Final = 5.0
_CLEAR: Final = (Collision, Duplicate, CallerError)


class Pool:
    """At most `size` connections, made when they are needed, the last used first. `wait_seconds`: for a free one.

    Whoever is cancelled or leaves with an error, in a transaction or not, leaves a connection that nothing is known of:
    its socket is closed, and the server undoes what was not committed. Only after errors that say exactly what became
    of the transaction is it rolled back, and the connection kept.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Session]], size: int, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._connect = connect
        self._wait_seconds = wait_seconds
        self._places = asyncio.Semaphore(size)
        self._idle: list[Session] = []
        self._used: set[Session] = set()
        self._closed = False

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Session]:
        """A connection, outside of any transaction."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"No connection to the database was free for {self._wait_seconds:g} s.") from None
        try:
            session = await self._take()
            try:
                yield session
            except _CLEAR:
                await self._rolled_back(session)
                raise
            except BaseException:
                session.terminate()
                raise
            finally:
                self._give_back(session)
        finally:
            self._places.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """A connection in a transaction that is committed at the end, or undone with the error that ended it."""
        async with self.lease() as session:
            await session.begin()
            yield session
            await session.commit()

    def drop_idle(self) -> None:
        """Close what nobody uses: after one connection was lost, the others are hardly better."""
        idle, self._idle = self._idle, []
        for each in idle:
            each.terminate()

    def close(self) -> None:
        """Close everything, also what is in use. May be called twice."""
        self._closed = True
        self.drop_idle()
        for each in list(self._used):
            each.terminate()

    async def _rolled_back(self, session: Session) -> None:
        try:
            await session.rollback()
        except BaseException:
            session.terminate()
            raise

    def _give_back(self, session: Session) -> None:
        self._used.discard(session)
        if session.usable and not self._closed:
            self._idle.append(session)
        else:
            session.terminate()

    async def _take(self) -> Session:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        while self._idle:
            session = self._idle.pop()
            if session.usable:
                break
            session.terminate()
        else:
            session = await self._connect()
        self._used.add(session)
        return session
