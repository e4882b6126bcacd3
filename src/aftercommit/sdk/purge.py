"""Forgetting markers and inbox rows: never by age alone, only once the service says that nobody will ask again."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aftercommit.sdk.answers import BatchResult
from aftercommit.sdk.databases.dialects import ROWS_MAX
from aftercommit.sdk.databases.port import Database, Handle
from aftercommit.sdk.errors import NotFound
from aftercommit.sdk.service import Service

KEEP_DAYS: Final = 30
_SETTLED: Final = frozenset({"completed", "rolled_back", "failed"})


async def purge_markers(database: Database, service: Service, *, keep_days: int = KEEP_DAYS) -> int:
    """Delete markers older than `keep_days` whose messages are settled or unknown at the service; how many."""

    async def old(handle: Handle, after: str) -> list[tuple[str]]:
        return await handle.execute(handle.dialect.old_markers(), [keep_days, after, ROWS_MAX])

    async def forget(handle: Handle, message_ids: Sequence[str]) -> None:
        await handle.execute(handle.dialect.forget_markers(len(message_ids)), message_ids)

    return await _purge(database, service, old, forget)


async def purge_receipts(database: Database, service: Service, subscription: str, *, keep_days: int = KEEP_DAYS) -> int:
    """The same for the inbox rows of a subscription."""

    async def old(handle: Handle, after: str) -> list[tuple[str]]:
        return await handle.execute(handle.dialect.old_receipts(), [subscription, keep_days, after, ROWS_MAX])

    async def forget(handle: Handle, message_ids: Sequence[str]) -> None:
        statement = handle.dialect.forget_receipts(len(message_ids))
        await handle.execute(statement, [subscription, *message_ids])

    return await _purge(database, service, old, forget)


async def _purge(
    database: Database,
    service: Service,
    old: Callable[[Handle, str], Awaitable[list[tuple[str]]]],
    forget: Callable[[Handle, Sequence[str]], Awaitable[None]],
) -> int:
    """Page by page in the order of the ids, asking about each page while no transaction is open."""
    forgotten, after = 0, ""
    async with database.open() as handle:
        while page := [message_id for (message_id,) in await old(handle, after)]:
            await handle.rollback()
            settled = [
                each for each, result in zip(page, await service.status(page), strict=True) if _is_settled(result)
            ]
            if settled:
                await handle.begin()
                await forget(handle, settled)
                await handle.commit()
            forgotten, after = forgotten + len(settled), page[-1]
        await handle.rollback()
    return forgotten


def _is_settled(result: BatchResult) -> bool:
    return isinstance(result.error, NotFound) or result.status in _SETTLED
