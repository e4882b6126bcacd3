"""The broker's side: accepted or refused, pulled, redelivered, given up."""

from collections.abc import Callable

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import TERMINAL, Event, Move, Status, decide, message_status
from aftercommit.domain.message import Delivery, Due, DueKind, Message, TimelineEvent
from aftercommit.domain.policies import publish_delay, redelivery_delay
from aftercommit.domain.step import Context, Step, stale, timeline, written


def accepted(command: c.Accepted, message: Message, context: Context) -> Step:
    def accept(delivery: Delivery) -> Delivery:
        attempts = delivery.attempts + (not command.pullable)
        due = (
            Due(DueKind.PULL, delivery.subscription, context.now)
            if command.pullable
            else _next_redelivery(message, delivery.subscription, attempts, context)
        )
        return replace(
            delivery,
            status=Status.SENT,
            attempts=attempts,
            sent_at=delivery.sent_at or context.now,
            due=due,
        )

    return _for_pending(Event.ACCEPTED, message, command.subscription, accept)


def refused_by_broker(command: c.BrokerRefused, message: Message, context: Context) -> Step:
    policy = context.catalog.policy(message.topic)
    worst = max((each.refusals for each in message.deliveries), default=0) + 1
    if command.final or worst >= policy.publish_attempts_max:

        def park(delivery: Delivery) -> Delivery:
            return replace(
                delivery,
                status=Status.UNDELIVERED,
                refusals=delivery.refusals + 1,
                error=command.reason,
                due=None,
            )

        parked = timeline(message, context, "undelivered", status=Status.UNDELIVERED, detail=command.reason)
        return _for_pending(Event.REFUSED, message, command.subscription, park, parked)
    due = Due(DueKind.SEND, message.topic or 0, context.now + publish_delay(policy, worst, context.chance()))
    refused = tuple(
        replace(
            each,
            refusals=each.refusals + 1,
            error=command.reason,
            due=due if each.due is not None else None,
        )
        if each.status is Status.PENDING_SEND and command.subscription in (None, each.subscription)
        else each
        for each in message.deliveries
    )
    if message.status is not Status.PENDING_SEND:
        return stale(message)
    event = timeline(message, context, "refused_by_broker", attempt=worst, detail=command.reason)
    later = replace(message, deliveries=refused, due=due if message.due is not None else None)
    return written(later, event)


def pull(command: c.Pull, message: Message, context: Context) -> Step:
    delivery = _delivery(message, command.subscription)
    if delivery is None or not isinstance(decide(Event.PULL, delivery.status), Move):
        return stale(message)
    policy = context.catalog.policy(message.topic, delivery.subscription)
    if delivery.attempts >= policy.deliveries_max:
        return _used_up(message, delivery, context)
    attempts = delivery.attempts + 1
    kind = DueKind.EXPIRE if attempts >= policy.deliveries_max else DueKind.PULL
    due = Due(
        kind,
        delivery.subscription,
        context.now + redelivery_delay(policy, attempts, context.chance()),
    )
    pulled = replace(delivery, attempts=attempts, pulled_at=delivery.pulled_at or context.now, due=due)
    # The first attempt is told by pulled_at; only later ones cost a line.
    events = (
        (timeline(message, context, "redelivered", attempt=attempts, subscription=delivery.subscription),)
        if attempts > 1
        else ()
    )
    return written(with_delivery(message, pulled, context), *events)


def redelivered(command: c.Redelivered, message: Message, context: Context) -> Step:
    delivery = _delivery(message, command.subscription)
    if delivery is None or not isinstance(decide(Event.REDELIVERY_DUE, delivery.status), Move):
        return stale(message)
    policy = context.catalog.policy(message.topic, delivery.subscription)
    if delivery.attempts >= policy.deliveries_max:
        return _used_up(message, delivery, context)
    attempts = delivery.attempts + 1
    again = replace(
        delivery,
        attempts=attempts,
        due=_next_redelivery(message, delivery.subscription, attempts, context),
    )
    event = timeline(message, context, "redelivered", attempt=attempts, subscription=delivery.subscription)
    return written(with_delivery(message, again, context), event)


def expire(command: c.Expire, message: Message, context: Context) -> Step:
    delivery = _delivery(message, command.subscription)
    if delivery is None or not isinstance(decide(Event.DELIVERIES_USED_UP, delivery.status), Move):
        return stale(message)
    policy = context.catalog.policy(message.topic, delivery.subscription)
    if delivery.attempts < policy.deliveries_max:
        # The budget was raised meanwhile: one more attempt may be pulled at once.
        reopened = replace(delivery, due=Due(DueKind.PULL, delivery.subscription, context.now))
        return written(with_delivery(message, reopened, context))
    return _used_up(message, delivery, context)


def with_delivery(message: Message, delivery: Delivery, context: Context, error: str | None = None) -> Message:
    if len(message.deliveries) == 1:
        return gathered(message, (delivery,), context, error)
    deliveries = tuple(delivery if each.subscription == delivery.subscription else each for each in message.deliveries)
    return gathered(message, deliveries, context, error)


def gathered(message: Message, deliveries: tuple[Delivery, ...], context: Context, error: str | None = None) -> Message:
    """The message its deliveries make: their joint status, settled when all are."""
    status = deliveries[0].status if len(deliveries) == 1 else message_status(each.status for each in deliveries)
    return replace(
        message,
        status=status,
        deliveries=deliveries,
        settled_at=context.now if status in TERMINAL else None,
        error=error if error is not None else message.error,
        due=message.due if status is Status.PENDING_SEND else None,
    )


def _delivery(message: Message, subscription: int) -> Delivery | None:
    return next((each for each in message.deliveries if each.subscription == subscription), None)


def _for_pending(
    event: Event,
    message: Message,
    subscription: int | None,
    move: Callable[[Delivery], Delivery],
    *events: TimelineEvent,
) -> Step:
    """Move every delivery (or only that subscription's) that the event may move; the others were settled meanwhile."""
    deliveries = tuple(
        move(each)
        if isinstance(decide(event, each.status), Move) and subscription in (None, each.subscription)
        else each
        for each in message.deliveries
    )
    if deliveries == message.deliveries:
        return stale(message)
    status = message_status(each.status for each in deliveries)
    error = next((each.error for each in deliveries if each.status is Status.UNDELIVERED), message.error)
    moved = replace(
        message,
        status=status,
        deliveries=deliveries,
        error=error,
        due=message.due if status is Status.PENDING_SEND else None,
    )
    return written(moved, *events)


def _used_up(message: Message, delivery: Delivery, context: Context) -> Step:
    why = f"Not reported after {delivery.attempts} deliveries."
    parked = replace(delivery, status=Status.UNDELIVERED, due=None, error=why)
    event = timeline(
        message,
        context,
        "undelivered",
        status=Status.UNDELIVERED,
        attempt=delivery.attempts,
        subscription=delivery.subscription,
        detail=why,
    )
    return written(with_delivery(message, parked, context, why), event, taken=False)


def _next_redelivery(message: Message, subscription: int, attempts: int, context: Context) -> Due:
    policy = context.catalog.policy(message.topic, subscription)
    wait = redelivery_delay(policy, attempts, context.chance())
    return Due(DueKind.REDELIVER, subscription, context.now + wait)
