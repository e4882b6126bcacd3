"""The outbox that people know, for while the service cannot be reached: messages wait in the user's own database.

They are written in the transaction that publishes them, with their markers, and a relay hands them over later: prepare,
then confirm, under their own ids. Both may be repeated, so that any number of relays may run and die.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from aftercommit import wire
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import database_of
from aftercommit.sdk.databases.dialects import ROWS_MAX
from aftercommit.sdk.databases.port import Database, Handle
from aftercommit.sdk.errors import Refused
from aftercommit.sdk.service import AsyncBatchCalls, AsyncService, BatchCalls, BlockingService, Service

PAUSE_SECONDS: Final = 5.0
_PAGE: Final = 100
_TOO_OLD: Final = "id_out_of_range"

_log = logging.getLogger("aftercommit.outbox")


class Fallback:
    """Remembers that the service was not heard, so that not every transaction waits for it in vain.

    For `pause_seconds` after a failure nobody asks; then the next transaction tries again. Shared by all transactions
    of a client; a lost update between threads only makes one more of them ask.
    """

    def __init__(self, *, pause_seconds: float = PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._silent_until = clock()

    def may_ask(self) -> bool:
        """Whether the service may have come back."""
        return self._clock() >= self._silent_until

    def unheard(self) -> None:
        """A prepare had no answer."""
        self._silent_until = self._clock() + self._pause_seconds


async def store(handle: Handle, messages: Sequence[wire.PrepareRequest]) -> None:
    """Write messages into the outbox, in the open transaction."""
    for start in range(0, len(messages), ROWS_MAX):
        chunk = messages[start : start + ROWS_MAX]
        parameters: list[Any] = []
        for each in chunk:
            parameters += (each.id, msgspec.json.encode(each))
        await handle.execute(handle.dialect.store(len(chunk)), parameters)


class OutboxRelay:
    """Hands over what the outbox holds. Run it every few seconds, in as many processes as you like.

    relay = OutboxRelay(client, engine)
    handed_over = relay.run_once()
    """

    def __init__(self, client: BatchCalls, database: Any) -> None:
        """`database`: an engine, a pool, or a function that connects."""
        self._service = BlockingService(client)
        self._database = database_of(database)

    def run_once(self) -> int:
        """Hand over everything there is; returns how many messages. Raises the client's errors and the driver's.

        A message the service refuses stays where it is, and is logged: nothing is dropped here.
        """
        return run_now(_relay(self._service, self._database))


class AsyncOutboxRelay:
    """The same for asyncio.

    relay = AsyncOutboxRelay(client, async_engine)
    handed_over = await relay.run_once()
    """

    def __init__(self, client: AsyncBatchCalls, database: Any) -> None:
        """`database`: an engine, a pool, or a function that connects."""
        self._service = AsyncService(client)
        self._database = database_of(database)

    async def run_once(self) -> int:
        """Hand over everything there is; returns how many messages."""
        return await _relay(self._service, self._database)


async def _relay(service: Service, database: Database) -> int:
    handed_over, after = 0, ""
    async with database.open() as handle:
        while page := await handle.execute(handle.dialect.stored(), [after, _PAGE]):
            await handle.rollback()
            taken = await _hand_over(
                service, [msgspec.json.decode(bytes(row[1]), type=wire.PrepareRequest) for row in page]
            )
            if taken:
                await handle.begin()
                await handle.execute(handle.dialect.relayed(len(taken)), taken)
                await handle.commit()
            handed_over, after = handed_over + len(taken), str(page[-1][0])
        await handle.rollback()
    return handed_over


async def _hand_over(service: Service, messages: Sequence[wire.PrepareRequest]) -> list[str]:
    """The ids that the service has, confirmed."""
    prepared = await service.prepare(messages)
    ids = [
        each.id or ""
        for each, result in zip(messages, prepared, strict=True)
        if _is_too_old(result.error) or _is_done("prepare", result.error)
    ]
    confirmed = await service.confirm(ids) if ids else []
    return [each for each, result in zip(ids, confirmed, strict=True) if _is_done("confirm", result.error)]


def _is_too_old(error: Exception | None) -> bool:
    """Too old to be prepared; it may have been, when the service could not be heard, and then it can be confirmed."""
    return isinstance(error, Refused) and error.code == _TOO_OLD


def _is_done(verb: str, error: Exception | None) -> bool:
    if isinstance(error, Refused):
        _log.error("The service refused to %s a message of the outbox, which stays there: %s", verb, error)
    return error is None
