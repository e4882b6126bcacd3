"""What one transition is given, and what it gives back."""

from collections.abc import Callable

import msgspec

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.lifecycle import Already, Event, Move, Refusal, Refused, Replay, Status
from aftercommit.domain.message import Message, Outcome, TimelineEvent


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a transition may look at besides the message itself."""

    now: int
    catalog: Catalog
    chance: Callable[[], float]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, the state to write (None: nothing changes), lines for the timeline, and a copy to create.

    `taken` is False where claimed work was parked instead of handed to the claimant.
    """

    outcome: Outcome
    message: Message | None = None
    events: tuple[TimelineEvent, ...] = ()
    replay: Message | None = None
    taken: bool = True


def written(message: Message, *events: TimelineEvent, taken: bool = True) -> Step:
    """`message` is the next state."""
    outcome = Outcome(id=message.id, status=message.status, changed=True, message=message)
    return Step(outcome=outcome, message=message, events=events, taken=taken)


def absent(message_id: str) -> Step:
    """Nobody has stored this id, or not for this caller: the two look the same from outside."""
    detail = f"There is no message {message_id}."
    return Step(outcome=Outcome(id=message_id, refusal=Refusal.UNKNOWN_MESSAGE, detail=detail))


def stale(message: Message) -> Step:
    """Internal work that came too late: the message has moved on, nothing is written."""
    return refused(message, Refusal.INVALID_TRANSITION, f"Message {message.id} has moved on.")


def refused(message: Message, why: Refusal, detail: str) -> Step:
    """The present state stands in the way."""
    outcome = Outcome(id=message.id, status=message.status, refusal=why, detail=detail, message=message)
    return Step(outcome=outcome)


def unchanged(message: Message) -> Step:
    """It happened before: the present status is the answer."""
    return Step(outcome=Outcome(id=message.id, status=message.status, message=message))


def not_moved(
    decision: Already | Refused | Replay | Move, message: Message, event: Event, status: Status | None = None
) -> Step:
    """The answer to a decision that is no `Move`; `status` is the delivery's where that decided."""
    match decision:
        case Already():
            return unchanged(message)
        case Refused(why):
            verb = event.value.replace("_", " ")
            return refused(message, why, f"Message {message.id} is {status or message.status}: {verb} is refused.")
        case Replay() | Move():
            raise TypeError(f"{event} on {message.status} was not a refusal.")


def timeline(
    message: Message,
    context: Context,
    event: str,
    *,
    status: Status | None = None,
    attempt: int | None = None,
    subscription: int | None = None,
    actor: str | None = None,
    detail: str | None = None,
) -> TimelineEvent:
    """A line of the message's history; its status unless another is given."""
    return TimelineEvent(
        message_id=message.id,
        at=context.now,
        event=event,
        status=status or message.status,
        attempt=attempt,
        subscription=subscription,
        actor=actor,
        detail=detail,
    )
