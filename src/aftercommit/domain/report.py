"""The consumer's side: complete and fail, each about one delivery."""

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Subscription
from aftercommit.domain.delivery import with_delivery
from aftercommit.domain.lifecycle import UNCONFIRMED, Event, Move, Refusal, Status, decide
from aftercommit.domain.message import Delivery, Message
from aftercommit.domain.step import Context, Step, absent, not_moved, refused, unchanged, written


def complete(command: c.Complete, message: Message, context: Context) -> Step:
    return _report(Event.COMPLETE, command, message, context, error=None)


def fail(command: c.Fail, message: Message, context: Context) -> Step:
    return _report(Event.FAIL, command, message, context, error=command.reason)


def settled(delivery: Delivery, to: Status, context: Context, error: str | None) -> Delivery:
    return replace(delivery, status=to, settled_at=context.now, due=None, error=error)


def _report(event: Event, command: c.Complete | c.Fail, message: Message, context: Context, error: str | None) -> Step:
    found = _reported_delivery(command, message, context)
    if isinstance(found, Step):
        return found
    match decide(event, found.status):
        case Move(to):
            done = settled(found, to, context, error)
            return written(with_delivery(message, done, context, error))
        case other:
            return not_moved(other, message, event, found.status)


def _reported_delivery(command: c.Complete | c.Fail, message: Message, context: Context) -> Delivery | Step:
    """The delivery a report is about, or the answer to a report about none."""
    topic = message.topic
    present = [context.catalog.subscriptions[each.subscription] for each in message.deliveries]
    registered = context.catalog.route(topic) if topic is not None else ()
    mine = [each for each in present if _may_report(command.app, each, message, context)]
    known = mine or [each for each in registered if _may_report(command.app, each, message, context)]
    if not known and command.app != message.app:
        return absent(command.id)
    if message.status in UNCONFIRMED or message.status is Status.ROLLED_BACK:
        return refused(
            message,
            Refusal.NOT_DELIVERED,
            f"Message {message.id} is {message.status}: nothing of it was delivered.",
        )
    if command.subscription is not None:
        return _named_delivery(command.subscription, command, message, context)
    if len(mine) == 1:
        return next(each for each in message.deliveries if each.subscription == mine[0].id)
    if not mine:
        return absent(command.id)
    return refused(
        message,
        Refusal.SUBSCRIPTION_REQUIRED,
        f"{len(mine)} subscriptions of message {message.id} are yours: say which.",
    )


def _named_delivery(name: str, command: c.Complete | c.Fail, message: Message, context: Context) -> Delivery | Step:
    for delivery in message.deliveries:
        subscription = context.catalog.subscriptions[delivery.subscription]
        if subscription.name == name:
            if _may_report(command.app, subscription, message, context):
                return delivery
            return absent(command.id)
    later = context.catalog.subscription(message.topic or 0, name)
    if later is None or later.implicit:
        return refused(message, Refusal.UNKNOWN_SUBSCRIPTION, f"Message {message.id} has no subscription {name!r}.")
    if not _may_report(command.app, later, message, context):
        return absent(command.id)
    # Added to the topic after the message was confirmed: nothing to settle, nothing wrong.
    return unchanged(message)


def _may_report(app: int, subscription: Subscription, message: Message, context: Context) -> bool:
    # Nobody registered an implicit subscription: it belongs to the topic's owner and to the message's own application.
    return subscription.app == app or (subscription.implicit and message.app == app)
