"""A connection lent for a transaction of our own, after the user's has ended on it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aftercommit.sdk.databases.port import Handle


class SameConnection:
    """A connection lent again, after the transaction on it has ended."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """The same handle; left open, as it was found."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Handle]:
        try:
            yield self._handle
        finally:
            if self._handle.in_transaction():
                await self._handle.rollback()
