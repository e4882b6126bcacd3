"""The barrier of protocol 5: one marker per message in the initiator's database, and whoever inserts it first decides.

The local transaction inserts `committed` with a plain INSERT; a check, or the unit that gives up, inserts `rolled_back`
in a transaction of its own. The primary key lets only one of them in, for ever: after `rolled_back` is committed the
local transaction can no longer commit, however late it comes.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.databases.dialects import in_chunks
from aftercommit.sdk.databases.failures import Failure, failure_of
from aftercommit.sdk.databases.port import Database, Handle

# A check-back call must be answered within 5 s; this leaves time for both ways.
ANSWER_SECONDS: Final = 3.0

_log = logging.getLogger("aftercommit.barrier")


async def mark_committed(handle: Handle, message_ids: Sequence[str]) -> None:
    """Insert the markers into the open transaction, in one statement.

    Whatever this raises, the transaction must be rolled back: an INSERT with OR IGNORE, or a transaction that goes on
    after the error, would commit what a check has ruled out.
    """
    await _mark(handle, message_ids, Outcome.COMMITTED)


async def mark_superseded(handle: Handle, message_ids: Sequence[str]) -> None:
    """Insert `rolled_back` into the open transaction for what an earlier run published, so that only one can commit.

    Whatever this raises, the transaction must be rolled back.
    """
    await _mark(handle, message_ids, Outcome.ROLLED_BACK)


async def _mark(handle: Handle, message_ids: Sequence[str], outcome: Outcome) -> None:
    for chunk in in_chunks(message_ids):
        parameters = [value for each in chunk for value in (each, outcome.value)]
        await handle.execute(handle.dialect.mark(len(chunk)), parameters)


async def read_markers(handle: Handle, message_ids: Sequence[str]) -> dict[str, Outcome]:
    """The markers there are, as one statement sees them."""
    found: dict[str, Outcome] = {}
    for chunk in in_chunks(message_ids):
        rows = await handle.execute(handle.dialect.markers(len(chunk)), chunk)
        found |= {message_id: Outcome(outcome) for message_id, outcome in rows}
    return found


async def settle(
    database: Database,
    message_ids: Sequence[str],
    *,
    seconds: float = ANSWER_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Outcome]:
    """What became of the local transaction of each message; one that has not committed by now never will.

    On a connection of its own. `UNKNOWN` where another transaction holds the marker (most likely the one asked about),
    and for all that is left after an error or after `seconds`. Raises nothing: not to know is an answer.
    """
    until = clock() + seconds
    outcomes: dict[str, Outcome] = {}
    try:
        async with database.open() as handle, _patience(handle):
            outcomes |= await read_markers(handle, message_ids)
            await handle.rollback()
            for message_id in message_ids:
                if message_id not in outcomes and clock() < until:
                    outcomes[message_id] = await _rule_out(handle, message_id)
    except Exception as error:
        # Anything may go wrong in somebody else's database. What was decided before stands: it is committed there.
        _log.warning("The barrier could not decide about all messages; the service will ask again: %s", error)
    return {each: outcomes.get(each, Outcome.UNKNOWN) for each in message_ids}


@asynccontextmanager
async def _patience(handle: Handle) -> AsyncIterator[None]:
    """Wait for locks only as long as a check may, and leave the session's settings as they were."""
    saved = handle.dialect.saved
    before = (await handle.execute(saved.read))[0] if saved is not None else ()
    for statement in handle.dialect.session:
        await handle.execute(statement)
    try:
        yield
    except Exception:
        # The connection may be the user's own, and be used again.
        await handle.rollback()
        await _restore(handle, before)
        raise
    await _restore(handle, before)


async def _restore(handle: Handle, before: Sequence[Any]) -> None:
    saved = handle.dialect.saved
    if saved is not None:
        await handle.execute(saved.restore.format(*(int(value) for value in before)))
        await handle.rollback()


async def _rule_out(handle: Handle, message_id: str) -> Outcome:
    """Insert the marker that the local transaction can then no longer insert; known only once that has committed."""
    try:
        found = await _insert_rolled_back(handle, message_id)
    except Exception as error:
        await handle.rollback()
        failure = failure_of(error)
        if failure is Failure.BLOCKED:
            return Outcome.UNKNOWN
        if failure is not Failure.DUPLICATE:
            raise
        # In a new statement: the one that failed still saw the time before the other's commit.
        found = (await read_markers(handle, [message_id])).get(message_id, Outcome.UNKNOWN)
        await handle.rollback()
        return found
    if found is not None:
        await handle.rollback()
        return found
    await handle.commit()
    return Outcome.ROLLED_BACK


async def _insert_rolled_back(handle: Handle, message_id: str) -> Outcome | None:
    """In a transaction that is left open. The outcome that the probe found instead, if there is one."""
    dialect = handle.dialect
    for statement in dialect.before_begin:
        await handle.execute(statement)
    await handle.begin()
    for statement in dialect.after_begin:
        await handle.execute(statement)
    if dialect.probe is not None and (rows := await handle.execute(dialect.probe, [message_id])):
        return Outcome(rows[0][0])
    await handle.execute(dialect.mark(1), [message_id, Outcome.ROLLED_BACK.value])
    return None
