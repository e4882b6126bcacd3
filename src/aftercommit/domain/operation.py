"""The operator's side: deliver again, or give up."""

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.confirmation import confirmed
from aftercommit.domain.delivery import gathered
from aftercommit.domain.lifecycle import (
    OPEN_DELIVERY,
    Event,
    Move,
    Refusal,
    Refused,
    Replay,
    Status,
    decide,
    message_status,
)
from aftercommit.domain.message import Delivery, Due, DueKind, Message, Outcome
from aftercommit.domain.report import settled
from aftercommit.domain.step import Context, Step, absent, not_moved, refused, timeline, unchanged, written


def redeliver(command: c.Redeliver, message: Message, context: Context) -> Step:
    if command.app not in (None, message.app):
        return absent(command.id)
    decision = decide(Event.REDELIVER, message.status)
    if isinstance(decision, Refused):
        return not_moved(decision, message, Event.REDELIVER)
    names = {each.subscription: _name(context, each.subscription) for each in message.deliveries}
    unknown = set(command.subscriptions or ()) - set(names.values())
    if unknown:
        return refused(
            message,
            Refusal.UNKNOWN_SUBSCRIPTION,
            f"Message {message.id} has no subscription {sorted(unknown)[0]!r}.",
        )
    chosen = [
        each
        for each in message.deliveries
        if command.subscriptions is None or names[each.subscription] in command.subscriptions
    ]
    if not chosen:
        return _nothing_left(message)
    # The table speaks of deliveries: what is chosen decides, not what else the message has.
    match decide(Event.REDELIVER, message_status(each.status for each in chosen)):
        case Replay():
            return _replayed(command, message, chosen, context)
        case Move():
            return _redelivered_now(command, message, chosen, context)
        case other:
            return not_moved(other, message, Event.REDELIVER)


def discard(command: c.Discard, message: Message, context: Context) -> Step:
    if command.app not in (None, message.app):
        return absent(command.id)
    match decide(Event.DISCARD, message.status):
        case Move():
            deliveries = tuple(
                settled(each, Status.FAILED, context, command.reason)
                if each.status in OPEN_DELIVERY and command.subscription in (None, each.subscription)
                else each
                for each in message.deliveries
            )
            if deliveries == message.deliveries:
                return refused(message, Refusal.INVALID_TRANSITION, f"Message {message.id} has nothing open there.")
            event = timeline(
                message,
                context,
                "discarded",
                status=Status.FAILED,
                actor=command.actor,
                detail=command.reason,
                subscription=command.subscription,
            )
            return written(gathered(message, deliveries, context, command.reason), event)
        case other:
            return not_moved(other, message, Event.DISCARD)


def dropped(message_id: str, subscription: int) -> c.Discard:
    """What happens to an open delivery of a subscription that is dropped by force."""
    return c.Discard(
        id=message_id,
        app=None,
        actor="catalog",
        reason="The subscription was dropped.",
        subscription=subscription,
    )


def _redelivered_now(command: c.Redeliver, message: Message, chosen: list[Delivery], context: Context) -> Step:
    topic = message.topic or 0
    ids = {each.subscription for each in chosen}
    deliveries = tuple(
        _due_now(each, topic, context) if each.subscription in ids else each for each in message.deliveries
    )
    due = message.due
    if any(each.status is Status.PENDING_SEND and each.subscription in ids for each in deliveries) and (
        due is not None or len(deliveries) == 1
    ):
        # The first send goes to every pending delivery at once, and the message keeps its time.
        due = _no_later(due or Due(DueKind.SEND, topic, context.now), context)
        deliveries = tuple(
            replace(each, due=None) if each.status is Status.PENDING_SEND else each for each in deliveries
        )
    if deliveries == message.deliveries and due == message.due:
        return unchanged(message)
    event = timeline(message, context, "redeliver_requested", actor=command.actor, detail=command.reason)
    return written(gathered(replace(message, due=due), deliveries, context), event)


def _due_now(delivery: Delivery, topic: int, context: Context) -> Delivery:
    if delivery.status is Status.UNDELIVERED:
        return replace(
            delivery,
            status=Status.PENDING_SEND,
            attempts=0,
            refusals=0,
            error=None,
            due=Due(DueKind.SEND, topic, context.now),
        )
    if delivery.due is None or delivery.due.kind is DueKind.EXPIRE:
        # The last attempt is out, and keeps its whole interval: coming sooner would only end it.
        return delivery
    return replace(delivery, due=_no_later(delivery.due, context))


def _no_later(due: Due, context: Context) -> Due:
    return replace(due, at=min(due.at, context.now))


def _nothing_left(message: Message) -> Step:
    detail = f"Nothing of message {message.id} is left to redeliver there."
    return refused(message, Refusal.INVALID_TRANSITION, detail)


def _replayed(command: c.Redeliver, message: Message, chosen: list[Delivery], context: Context) -> Step:
    if command.subscriptions is None:
        if all(each.status is Status.COMPLETED for each in chosen):
            return refused(
                message,
                Refusal.SUBSCRIPTION_REQUIRED,
                f"Message {message.id} is completed: say for which subscriptions it is to be sent again.",
            )
        chosen = [each for each in chosen if each.status is Status.FAILED]
    chosen = [each for each in chosen if _is_there(each, context)]
    if not chosen:
        return _nothing_left(message)
    copy = Message(
        id=command.replay_id,
        app=message.app,
        topic=message.topic,
        status=Status.PENDING_SEND,
        prepared_at=context.now,
        replay_of=message.id,
        deliveries=tuple(Delivery(subscription=each.subscription, status=Status.PENDING_SEND) for each in chosen),
    )
    replay = confirmed(copy, context)
    event = timeline(
        message,
        context,
        "replayed",
        actor=command.actor,
        detail=f"as {replay.id}" + (f": {command.reason}" if command.reason else ""),
    )
    outcome = Outcome(id=replay.id, status=replay.status, changed=True, created=True, message=replay)
    return Step(outcome=outcome, events=(event,), replay=replay)


def _is_there(delivery: Delivery, context: Context) -> bool:
    subscription = context.catalog.subscriptions[delivery.subscription]
    return subscription.removed_at is None and context.catalog.topics[subscription.topic].removed_at is None


def _name(context: Context, subscription: int) -> str:
    return context.catalog.subscriptions[subscription].name
