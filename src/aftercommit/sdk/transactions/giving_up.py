"""Giving a unit of work up: cancel, but barrier first, so that what did commit after all is confirmed instead."""

from collections.abc import Sequence
from typing import Final

from aftercommit.sdk.barrier.markers import settle
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.databases.port import Database
from aftercommit.sdk.service import Initiator, tell

REASON: Final = "the local transaction was rolled back"


async def give_up(service: Initiator, database: Database, message_ids: Sequence[str]) -> dict[str, Outcome]:
    """Rule the messages' transaction out in the barrier, then tell the service; what the barrier says.

    Silent about every message whose marker is held by another transaction or cannot be read: check-back will find out.
    Raises nothing.
    """
    outcomes = await settle(database, message_ids)
    ruled_out = [each for each, outcome in outcomes.items() if outcome is Outcome.ROLLED_BACK]
    committed = [each for each, outcome in outcomes.items() if outcome is Outcome.COMMITTED]
    if ruled_out:
        await tell("cancel", service.cancel(ruled_out, REASON))
    if committed:
        await tell("confirm", service.confirm(committed))
    return outcomes
