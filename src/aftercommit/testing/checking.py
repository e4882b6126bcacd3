"""Moving time on until everybody who has to be was asked what became of their transactions."""

from collections import Counter
from typing import Final

from aftercommit.domain.lifecycle import UNCONFIRMED
from aftercommit.domain.message import Message
from aftercommit.testing.checkback import InProcessCheckback
from aftercommit.testing.inside import Inside

# Rounds after the one in which all were due: an application that was out of reach is left alone up to 15 s.
_ROUNDS_MAX: Final = 40
_ROUND_SECONDS: Final = 1.0


async def run_checks(inside: Inside, checkback: InProcessCheckback) -> dict[str, int]:
    """Have every message that waits for its confirmation asked about, at least once; counts by outcome.

    Raises AssertionError if that cannot be: nobody answers, or whoever does is not asked.
    """
    asked_before = len(checkback.asked)
    left = await _left(inside, None)
    _require_sources(left, inside, checkback)
    wanted = {each.id for each in left}
    for round_number in range(_ROUNDS_MAX):
        if not left:
            return dict(Counter(each.outcome for each in checkback.asked[asked_before:]))
        due = max((each.due.at for each in left if each.due is not None), default=0)
        seconds = max((due - inside.node.clock.now()) / 1000, 0.001)
        await inside.caller.result_of(
            inside.node.advance(min(seconds, _ROUND_SECONDS) if round_number else seconds), errands=True
        )
        wanted -= {each.id for each in checkback.asked[asked_before:]}
        left = await _left(inside, wanted)
    raise AssertionError(f"{len(left)} messages were not asked about, though they are due; is their process down?")


async def _left(inside: Inside, wanted: set[str] | None) -> list[Message]:
    live = await inside.caller.result_of(inside.node.live())
    return [each for each in live if each.status in UNCONFIRMED and (wanted is None or each.id in wanted)]


def _require_sources(waiting: list[Message], inside: Inside, checkback: InProcessCheckback) -> None:
    silent = sorted({app for each in waiting if not checkback.can_ask(app := inside.node.app_of(each))})
    if silent:
        raise AssertionError(
            f"Nobody answers checks of {', '.join(silent)}: call answer_checks_with(source, app=...) before."
        )
