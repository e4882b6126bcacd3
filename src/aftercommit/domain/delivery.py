"""The broker's side: accepted or refused, pulled, redelivered, given up."""

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import TERMINAL, Event, Move, Status, decide, message_status
from aftercommit.domain.message import Delivery, Due, DueKind, Message
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
            error=None,
            due=due,
        )

    # Those that were settled meanwhile stay as they are.
    pending = _pending(Event.ACCEPTED, message, command.subscription)
    if not pending:
        return stale(message)
    deliveries = tuple(accept(each) if each in pending else each for each in message.deliveries)
    return written(gathered(message, deliveries, context))


def refused_by_broker(command: c.BrokerRefused, message: Message, context: Context) -> Step:
    sent = _delivery(message, command.subscription)
    if sent is not None and sent.due is not None and sent.due.kind is DueKind.REDELIVER:
        return _redelivery_refused(command, sent, message, context)
    pending = _pending(Event.REFUSED, message, command.subscription)
    if not pending:
        return stale(message)
    policy = context.catalog.policy(message.topic)
    refusals = max(each.refusals for each in pending) + 1
    later = Due(DueKind.SEND, message.topic or 0, context.now + publish_delay(policy, refusals, context.chance()))

    def refuse(delivery: Delivery) -> Delivery:
        refused = replace(delivery, refusals=delivery.refusals + 1, error=command.reason)
        if command.final or refused.refusals >= policy.publish_attempts_max:
            return replace(refused, status=Status.UNDELIVERED, due=None)
        return replace(refused, due=later if delivery.due is not None else None)

    deliveries = tuple(refuse(each) if each in pending else each for each in message.deliveries)
    event = (
        timeline(message, context, "refused_by_broker", attempt=refusals, detail=command.reason)
        if _pending(Event.REFUSED, replace(message, deliveries=deliveries), command.subscription)
        else timeline(message, context, Status.UNDELIVERED.value, status=Status.UNDELIVERED, detail=command.reason)
    )
    due = later if message.due is not None else None
    return written(gathered(replace(message, due=due), deliveries, context, command.reason), event)


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
    # The first pull is told by pulled_at; only later ones cost a line.
    events = (
        (timeline(message, context, "redelivered", attempt=attempts, subscription=delivery.subscription),)
        if delivery.pulled_at is not None
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
        error=None,
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
    """The message its deliveries make: their joint status, settled when all are, and an error while one has one."""
    status = deliveries[0].status if len(deliveries) == 1 else message_status(each.status for each in deliveries)
    return replace(
        message,
        status=status,
        deliveries=deliveries,
        settled_at=context.now if status in TERMINAL else None,
        error=error or next((each.error for each in deliveries if each.error is not None), None),
        due=message.due if status is Status.PENDING_SEND else None,
    )


def _delivery(message: Message, subscription: int | None) -> Delivery | None:
    return next((each for each in message.deliveries if each.subscription == subscription), None)


def _pending(event: Event, message: Message, subscription: int | None) -> list[Delivery]:
    """The deliveries (or only that subscription's) which the event may move."""
    return [
        each
        for each in message.deliveries
        if subscription in (None, each.subscription) and isinstance(decide(event, each.status), Move)
    ]


def _redelivery_refused(command: c.BrokerRefused, delivery: Delivery, message: Message, context: Context) -> Step:
    """A redelivery that the broker refused is an attempt like one that was not reported: it uses budget."""
    step = redelivered(c.Redelivered(id=message.id, subscription=delivery.subscription), message, context)
    if step.message is None or not step.taken:
        return step
    again = _delivery(step.message, delivery.subscription)
    if again is None:
        raise TypeError(f"Message {message.id} lost a delivery.")
    refused = replace(again, error=command.reason)
    event = timeline(
        message,
        context,
        "refused_by_broker",
        attempt=again.attempts,
        subscription=delivery.subscription,
        detail=command.reason,
    )
    return written(with_delivery(step.message, refused, context, command.reason), event)


def _used_up(message: Message, delivery: Delivery, context: Context) -> Step:
    why = f"Not reported after {delivery.attempts} deliveries."
    parked = replace(delivery, status=Status.UNDELIVERED, due=None, error=why)
    event = timeline(
        message,
        context,
        Status.UNDELIVERED.value,
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
