"""The initiator's side: prepare, confirm, cancel, check-back and an operator's decision."""

from typing import assert_never

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.delivery import accepted
from aftercommit.domain.lifecycle import UNCONFIRMED, Event, Move, Refusal, Status, decide
from aftercommit.domain.message import Delivery, Due, DueKind, Message, Outcome, TimelineEvent
from aftercommit.domain.policies import (
    CHECK_HOLD_MS,
    MS,
    UNDECIDED_CHECK_SECONDS,
    check_delay,
    jittered,
    unreachable_limit,
)
from aftercommit.domain.step import (
    Context,
    Step,
    absent,
    not_moved,
    refused,
    stale,
    timeline,
    unchanged,
    written,
)


def homeless(prepare: c.Prepare, context: Context) -> Outcome | None:
    """The answer to a new prepare whose topic was removed before it could be stored; None where it may be stored."""
    topic = prepare.message.topic
    if topic is not None and context.catalog.route(topic):
        return None
    detail = f"Message {prepare.id} cannot be stored: its topic was removed."
    return Outcome(id=prepare.id, refusal=Refusal.UNKNOWN_TOPIC, detail=detail)


def first_state(prepare: c.Prepare, context: Context) -> Message:
    """The state a prepared message is stored with: to be checked, or, where it came confirmed, to be sent."""
    message = prepare.message
    return confirmed(message, context) if message.status is Status.PENDING_SEND else message


def repeated(prepare: c.Prepare, present: Message, fingerprint: bytes | None) -> Outcome:
    """The answer to a prepare whose id is stored already. `fingerprint` is the stored one (None: a tombstone)."""
    detail = f"Message {present.id} is stored already with other content."
    if present.app != prepare.message.app:
        # Another application's: its status is not this caller's to know.
        return Outcome(id=present.id, refusal=Refusal.ID_CONFLICT, detail=detail)
    if fingerprint not in (None, prepare.content.fingerprint):
        return refused(present, Refusal.ID_CONFLICT, detail).outcome
    if present.status is Status.ROLLED_BACK:
        return refused(present, Refusal.ROLLED_BACK, f"Message {present.id} was rolled back.").outcome
    return unchanged(present).outcome


def tombstone(command: c.Cancel, now: int) -> Message:
    """The row that makes a prepare which its own cancel overtook come too late."""
    return Message(
        id=command.id,
        app=command.app,
        topic=None,
        status=Status.ROLLED_BACK,
        prepared_at=now,
        settled_at=now,
        error=command.reason,
    )


def confirm(command: c.Confirm, message: Message, context: Context) -> Step:
    if command.app != message.app:
        return absent(command.id)
    step = _commit(Event.CONFIRM, message, context)
    if not command.pullable or step.message is None:
        return step
    # The answer is what the confirm did; that it was sent as well is the dispatch's part of the same write.
    sent = _sent_if_due(step.message, context)
    return replace(step, outcome=replace(step.outcome, message=sent), message=sent)


def cancel(command: c.Cancel, message: Message, context: Context) -> Step:
    if command.app != message.app:
        return absent(command.id)
    return _roll_back(Event.CANCEL, message, context, error=command.reason)


def hold_check(command: c.HoldCheck, message: Message, context: Context) -> Step:
    if message.status not in UNCONFIRMED:
        return stale(message)
    return written(replace(message, due=Due(DueKind.CHECK, message.app, context.now + CHECK_HOLD_MS)))


def hand_out_check(command: c.HandOutCheck, message: Message, context: Context) -> Step:
    policy = context.catalog.policy(message.topic)
    if message.status not in UNCONFIRMED:
        return stale(message)
    if message.status is Status.PENDING_CONFIRMATION and message.checks >= policy.checks_max:
        return _undecided(message, context, "The check budget is used up.")
    checks = message.checks + 1
    event = timeline(message, context, "check_handed_out", attempt=checks)
    held = replace(message, checks=checks, checked_at=context.now, due=_next_check(message, checks, context))
    return written(held, event)


def expire_unasked(command: c.ExpireUnasked, message: Message, context: Context) -> Step:
    if message.status not in UNCONFIRMED or message.due is None:
        return stale(message)
    # A due check waits untouched for an initiator that fetches it, so its due time tells how long nobody did.
    overdue = context.now - message.due.at
    if message.status is Status.UNDECIDED:
        if overdue < UNDECIDED_CHECK_SECONDS * MS:
            return stale(message)
        # It makes room for an hour, so that many of them never stand before those that still have to be judged.
        return written(replace(message, due=_next_check(message, message.checks, context)))
    if overdue < unreachable_limit(context.catalog.policy(message.topic)):
        return stale(message)
    return _undecided(message, context, "No check could be made.")


def check_answered(command: c.CheckAnswered, message: Message, context: Context) -> Step:
    if command.app is not None and command.app != message.app:
        return absent(command.id)
    counts = command.made and not command.counted and message.status in UNCONFIRMED
    checks = message.checks + counts
    # Without any check so far, the first that cannot be made begins the time in which none could.
    begins = not command.made and message.checked_at is None and message.status in UNCONFIRMED
    asked = replace(message, checks=checks, checked_at=context.now if counts or begins else message.checked_at)
    match command.outcome:
        case c.CheckOutcome.COMMITTED:
            event = _checked(message, context, checks, Status.PENDING_SEND, command)
            return _commit(Event.CHECK_COMMITTED, asked, context, event)
        case c.CheckOutcome.ROLLED_BACK:
            event = _checked(message, context, checks, Status.ROLLED_BACK, command)
            return _roll_back(Event.CHECK_ROLLED_BACK, asked, context, event)
        case c.CheckOutcome.UNKNOWN:
            return _still_unknown(command, asked, context)
        case _:
            assert_never(command.outcome)


def resolve(command: c.Resolve, message: Message, context: Context) -> Step:
    if command.app not in (None, message.app):
        return absent(command.id)
    event = timeline(
        message,
        context,
        "resolved",
        status=Status.PENDING_SEND if command.committed else Status.ROLLED_BACK,
        actor=command.actor,
        detail=command.reason,
    )
    verdict = Event.RESOLVE_COMMITTED if command.committed else Event.RESOLVE_ROLLED_BACK
    decision = decide(verdict, message.status)
    if not isinstance(decision, Move):
        return not_moved(decision, message, verdict)
    signed = replace(message, resolved_by=command.actor)
    if command.committed:
        return _commit(verdict, signed, context, event)
    return _roll_back(verdict, signed, context, event, error=command.reason)


def recheck(command: c.Recheck, message: Message, context: Context) -> Step:
    if command.app not in (None, message.app):
        return absent(command.id)
    match decide(Event.RECHECK, message.status):
        case Move():
            event = timeline(message, context, "recheck_requested", actor=command.actor)
            return written(replace(message, due=Due(DueKind.CHECK, message.app, context.now)), event)
        case other:
            return not_moved(other, message, Event.RECHECK)


def confirmed(message: Message, context: Context) -> Message:
    topic = message.topic
    if topic is None:
        raise TypeError(f"Tombstone {message.id} cannot be confirmed.")
    deliveries = message.deliveries or tuple(
        Delivery(subscription=each.id, status=Status.PENDING_SEND) for each in context.catalog.route(topic)
    )
    return replace(
        message,
        status=Status.PENDING_SEND,
        confirmed_at=context.now,
        error=None,
        due=Due(DueKind.SEND, topic, max(message.deliver_at or 0, context.now)),
        deliveries=deliveries,
    )


def _commit(event: Event, message: Message, context: Context, *events: TimelineEvent) -> Step:
    match decide(event, message.status):
        case Move():
            return written(confirmed(message, context), *events)
        case other:
            return not_moved(other, message, event)


def _sent_if_due(message: Message, context: Context) -> Message:
    """What the built-in broker makes of a confirmed message: its queue is this row."""
    topic = context.catalog.topics[message.topic or 0]
    if topic.paused_at is not None or message.due is None or message.due.at > context.now:
        return message
    return accepted(c.Accepted(id=message.id, pullable=True), message, context).message or message


def _roll_back(
    event: Event,
    message: Message,
    context: Context,
    *events: TimelineEvent,
    error: str | None = None,
) -> Step:
    match decide(event, message.status):
        case Move(to):
            rolled_back = replace(message, status=to, settled_at=context.now, error=error, due=None)
            return written(rolled_back, *events)
        case other:
            return not_moved(other, message, event)


def _checked(
    message: Message, context: Context, checks: int, status: Status, command: c.CheckAnswered
) -> TimelineEvent:
    return timeline(message, context, "checked", status=status, attempt=checks, detail=command.outcome.value)


def _still_unknown(command: c.CheckAnswered, message: Message, context: Context) -> Step:
    if not isinstance(decide(Event.CHECK_UNKNOWN, message.status), Move):
        return stale(message)
    policy = context.catalog.policy(message.topic)
    quiet = context.now - (message.checked_at or context.now)
    event = timeline(
        message,
        context,
        "checked" if command.made else "check_not_possible",
        attempt=message.checks if command.made else None,
        detail=command.detail or "unknown",
    )
    # A check that could not be made is told once, not at every try.
    events = (event,) if command.made or message.error != command.detail else ()
    noted = replace(message, error=command.detail)
    if message.status is Status.PENDING_CONFIRMATION:
        if command.made and message.checks >= policy.checks_max:
            return _undecided(noted, context, "The check budget is used up.", *events)
        if not command.made and quiet >= unreachable_limit(policy):
            return _undecided(noted, context, "No check could be made.", *events)
    checks = message.checks if command.made else message.checks + 1
    return written(replace(noted, due=_next_check(message, checks, context)), *events)


def _undecided(message: Message, context: Context, why: str, *events: TimelineEvent) -> Step:
    hourly = jittered(UNDECIDED_CHECK_SECONDS, context.chance())
    parked = replace(
        message,
        status=Status.UNDECIDED,
        error=message.error or why,
        due=Due(DueKind.CHECK, message.app, context.now + hourly),
    )
    return written(parked, *events, timeline(parked, context, Status.UNDECIDED.value, detail=why), taken=False)


def _next_check(message: Message, checks: int, context: Context) -> Due:
    if message.status is Status.UNDECIDED:
        wait = jittered(UNDECIDED_CHECK_SECONDS, context.chance())
    else:
        wait = check_delay(context.catalog.policy(message.topic), checks, context.chance())
    return Due(DueKind.CHECK, message.app, context.now + wait)
