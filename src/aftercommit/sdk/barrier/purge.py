"""Forgetting markers and inbox rows: never by age alone, only once the service says that nobody will ask again."""

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.databases.dialects import ROWS_MAX
from aftercommit.sdk.databases.port import Database, Handle
from aftercommit.sdk.errors import NotFound
from aftercommit.sdk.service import Service

KEEP_DAYS: Final = 30
# So many of the newest messages are asked about where the old ones are unknown.
_NEWEST: Final = 100
_SETTLED: Final = frozenset({"completed", "rolled_back", "failed"})

_log: Final = logging.getLogger("aftercommit.purge")


class _Rows(Protocol):
    """What is purged."""

    async def old(self, handle: Handle, after: str) -> list[tuple[str]]:
        """A page of ids of old rows, after an id, in their order."""

    async def newest(self, handle: Handle) -> list[tuple[str]]:
        """The newest ids, however old."""

    async def forget(self, handle: Handle, message_ids: Sequence[str]) -> None:
        """Delete rows."""


class _Markers:
    def __init__(self, keep_days: int) -> None:
        self._keep_days = keep_days

    async def old(self, handle: Handle, after: str) -> list[tuple[str]]:
        return await handle.execute(handle.dialect.old_markers(), [self._keep_days, after, ROWS_MAX])

    async def newest(self, handle: Handle) -> list[tuple[str]]:
        return await handle.execute(handle.dialect.newest_markers(), [_NEWEST])

    async def forget(self, handle: Handle, message_ids: Sequence[str]) -> None:
        await handle.execute(handle.dialect.forget_markers(len(message_ids)), message_ids)


class _Receipts:
    def __init__(self, subscription: str, keep_days: int) -> None:
        self._subscription = subscription
        self._keep_days = keep_days

    async def old(self, handle: Handle, after: str) -> list[tuple[str]]:
        parameters = [self._subscription, self._keep_days, after, ROWS_MAX]
        return await handle.execute(handle.dialect.old_receipts(), parameters)

    async def newest(self, handle: Handle) -> list[tuple[str]]:
        return await handle.execute(handle.dialect.newest_receipts(), [self._subscription, _NEWEST])

    async def forget(self, handle: Handle, message_ids: Sequence[str]) -> None:
        statement = handle.dialect.forget_receipts(len(message_ids))
        await handle.execute(statement, [self._subscription, *message_ids])


async def purge_markers(database: Database, service: Service, *, keep_days: int = KEEP_DAYS) -> int:
    """Delete markers older than `keep_days` whose messages are settled or unknown at the service; how many.

    At the wrong service, and with another application's key, all messages are unknown. So those that are unknown are
    deleted only where the service knows any other message of the same table: an old one, or one of the newest.
    """
    return await _purge(database, service, _Markers(keep_days))


async def purge_receipts(database: Database, service: Service, subscription: str, *, keep_days: int = KEEP_DAYS) -> int:
    """The same for the inbox rows of a subscription."""
    return await _purge(database, service, _Receipts(subscription, keep_days))


async def _purge(database: Database, service: Service, rows: _Rows) -> int:
    """Page by page in the order of the ids, asking about each page while no transaction is open."""
    forgotten, after, is_known = 0, "", False
    async with database.open() as handle:
        while page := [message_id for (message_id,) in await rows.old(handle, after)]:
            await handle.rollback()
            results = await service.status(page)
            is_known = is_known or _knows_any(results) or await _knows_newest(handle, service, rows)
            forgettable = [each for each, result in zip(page, results, strict=True) if _is_settled(result)]
            if not is_known:
                _log.warning("Nothing old is forgotten: not even the newest messages are known to this service.")
                break
            if forgettable:
                await handle.begin()
                await rows.forget(handle, forgettable)
                await handle.commit()
            forgotten, after = forgotten + len(forgettable), page[-1]
        await handle.rollback()
    return forgotten


async def _knows_newest(handle: Handle, service: Service, rows: _Rows) -> bool:
    newest = [message_id for (message_id,) in await rows.newest(handle)]
    await handle.rollback()
    return _knows_any(await service.status(newest))


def _knows_any(results: Sequence[BatchResult]) -> bool:
    return any(each.error is None for each in results)


def _is_settled(result: BatchResult) -> bool:
    return isinstance(result.error, NotFound) or result.status in _SETTLED
