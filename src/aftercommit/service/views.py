"""Records as the protocol shows them. The read side of every door: API, dashboard and command line."""

from base64 import b64encode
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from aftercommit.domain.catalog import App, Subscription, Topic
from aftercommit.domain.lifecycle import LIVE, TERMINAL, UNCONFIRMED, Status
from aftercommit.domain.message import Content, Delivery, Due, Message, PayloadForm, TimelineEvent
from aftercommit.ports.store import Listed, Stored
from aftercommit.service.directory import Directory
from aftercommit.wire import (
    AppAnswer,
    DeliveryAnswer,
    MessageAnswer,
    MessageSummary,
    SecretAnswer,
    SubscriptionAnswer,
    TimelineEntry,
    TopicAnswer,
    rfc3339,
)

# What comes first where two things happened in the same millisecond.
_RANK: Final = {
    each: rank
    for rank, each in enumerate(
        ("prepared", "check_handed_out", "checked", "resolved", "confirmed", "cancelled", Status.SENT, "pulled")
    )
}
_RANK_LAST: Final = len(_RANK)


def payload_json(content: Content) -> Raw | UnsetType:
    """The payload for a JSON answer, where it came as a JSON value."""
    return Raw(content.payload) if content.form is PayloadForm.JSON else UNSET


def payload_base64(content: Content) -> str | UnsetType:
    """The payload for a JSON answer, where it came as bytes."""
    return b64encode(content.payload).decode() if content.form is PayloadForm.BYTES else UNSET


def message_answer(stored: Stored, directory: Directory) -> MessageAnswer:
    """Everything about one message."""
    message, content = stored.message, stored.content
    return MessageAnswer(
        id=message.id,
        app=directory.app_name(message.app),
        topic=directory.topic_name(message.topic),
        key=content.key if content else None,
        headers=dict(content.headers) if content else {},
        content_type=content.content_type if content else None,
        status=message.status,
        attempts=attempts(message),
        checks=message.checks,
        check_hint=content.check_hint if content else None,
        prepared_at=rfc3339(message.prepared_at),
        deliver_at=_when(message.deliver_at),
        confirmed_at=_when(message.confirmed_at),
        sent_at=_when(_first_sent(message)),
        settled_at=_when(message.settled_at),
        next_at=_when(_nextrfc3339(message)),
        error=message.error,
        resolved_by=message.resolved_by,
        replay_of=message.replay_of,
        deliveries=[_delivery_answer(each, message, directory) for each in message.deliveries],
        timeline=[_entry(event, directory) for event in _timeline(stored, directory)],
        payload=payload_json(content) if content else UNSET,
        payload_base64=payload_base64(content) if content else UNSET,
    )


def message_summary(listed: Listed, directory: Directory) -> MessageSummary:
    """A line of a list."""
    message = listed.message
    return MessageSummary(
        id=message.id,
        app=directory.app_name(message.app),
        topic=directory.topic_name(message.topic),
        key=listed.key,
        status=message.status,
        attempts=attempts(message),
        checks=message.checks,
        prepared_at=rfc3339(message.prepared_at),
        confirmed_at=_when(message.confirmed_at),
        settled_at=_when(message.settled_at),
        next_at=_when(_nextrfc3339(message)),
        error=message.error,
    )


def topic_answer(topic: Topic, directory: Directory) -> TopicAnswer:
    """A topic with its subscriptions and the policy in force."""
    catalog = directory.catalog
    return TopicAnswer(
        topic=topic.name,
        app=directory.app_name(topic.app),
        paused=topic.paused_at is not None,
        subscriptions=[_subscription_answer(each, directory) for each in catalog.explicit(topic.id)],
        policy=_policy(directory, topic.id),
        destination=topic.destination,
        created_at=rfc3339(topic.created_at),
    )


def app_answer(app: App, *, shown: str | None = None) -> AppAnswer:
    """An application; of its secrets only the one whose id is `shown` is told."""
    return AppAnswer(
        app=app.name,
        check_url=app.check_url,
        check_signed=app.check_signed,
        secrets=[
            SecretAnswer(
                id=each.id, created_at=rfc3339(each.created_at), secret=each.value if each.id == shown else UNSET
            )
            for each in app.secrets
        ],
        created_at=rfc3339(app.created_at),
    )


def attempts(message: Message) -> int:
    """The attempts of the delivery that needed most."""
    return max((each.attempts for each in message.deliveries), default=0)


def _delivery_answer(delivery: Delivery, message: Message, directory: Directory) -> DeliveryAnswer:
    due = delivery.due or (message.due if delivery.status is Status.PENDING_SEND else None)
    return DeliveryAnswer(
        subscription=directory.catalog.subscriptions[delivery.subscription].name,
        status=delivery.status,
        attempts=delivery.attempts,
        sent_at=_when(delivery.sent_at),
        pulled_at=_when(delivery.pulled_at),
        settled_at=_when(delivery.settled_at),
        next_at=_when(due.at if due else None),
        error=delivery.error,
    )


def _subscription_answer(subscription: Subscription, directory: Directory) -> SubscriptionAnswer:
    return SubscriptionAnswer(
        name=subscription.name,
        app=directory.app_name(subscription.app),
        implicit=subscription.implicit,
        policy=_policy(directory, subscription.topic, subscription.id),
        push_url=subscription.push_url,
        report=subscription.report,
    )


def _policy(directory: Directory, topic: int, subscription: int | None = None) -> dict[str, Any]:
    policy: dict[str, Any] = msgspec.to_builtins(directory.catalog.policy(topic, subscription))
    return policy


def _timeline(stored: Stored, directory: Directory) -> list[TimelineEvent]:
    """The history: what the columns of the message tell, and the lines stored beside it, oldest first."""
    message = stored.message
    told = []
    if message.topic is not None:
        told.append(_line(message, message.prepared_at, "prepared", Status.PENDING_CONFIRMATION, directory))
    lines = list(stored.events)
    if message.confirmed_at is not None and not _recorded(lines, message.confirmed_at, Status.PENDING_SEND):
        told.append(_line(message, message.confirmed_at, "confirmed", Status.PENDING_SEND, directory))
    for delivery in message.deliveries:
        told += _delivery_lines(message, delivery)
    cancelled_at = message.settled_at if message.status is Status.ROLLED_BACK else None
    if cancelled_at is not None and not _recorded(lines, cancelled_at, Status.ROLLED_BACK):
        told.append(_line(message, cancelled_at, "cancelled", Status.ROLLED_BACK, directory, message.error))
    return sorted(told + lines, key=lambda event: (event.at, _RANK.get(event.event, _RANK_LAST)))


def _delivery_lines(message: Message, delivery: Delivery) -> list[TimelineEvent]:
    lines = []

    def add(at: int, event: str, status: Status, attempt: int | None = None, detail: str | None = None) -> None:
        lines.append(
            TimelineEvent(
                message_id=message.id,
                at=at,
                event=event,
                status=status,
                attempt=attempt,
                subscription=delivery.subscription,
                detail=detail,
            )
        )

    if delivery.sent_at is not None:
        add(delivery.sent_at, Status.SENT, Status.SENT)
    if delivery.pulled_at is not None:
        add(delivery.pulled_at, "pulled", Status.SENT, attempt=1)
    if delivery.settled_at is not None and delivery.status in TERMINAL:
        add(delivery.settled_at, delivery.status.value, delivery.status, delivery.attempts or None, delivery.error)
    return lines


def _line(
    message: Message, at: int, event: str, status: Status, directory: Directory, detail: str | None = None
) -> TimelineEvent:
    return TimelineEvent(
        message_id=message.id, at=at, event=event, status=status, actor=directory.app_name(message.app), detail=detail
    )


def _recorded(lines: list[TimelineEvent], at: int, status: Status) -> bool:
    """Whether a check or an operator, and not the initiator, decided then: its line tells it already."""
    return any(line.at == at and line.status is status and line.event in ("checked", "resolved") for line in lines)


def _entry(event: TimelineEvent, directory: Directory) -> TimelineEntry:
    subscription = event.subscription
    return TimelineEntry(
        at=rfc3339(event.at),
        event=event.event,
        status=event.status,
        attempt=event.attempt,
        subscription=directory.catalog.subscriptions[subscription].name if subscription is not None else None,
        actor=event.actor,
        detail=event.detail,
    )


def _first_sent(message: Message) -> int | None:
    return min((each.sent_at for each in message.deliveries if each.sent_at is not None), default=None)


def _nextrfc3339(message: Message) -> int | None:
    if message.status not in LIVE | UNCONFIRMED:
        return None
    dues: list[Due | None] = [message.due, *(each.due for each in message.deliveries)]
    return min((due.at for due in dues if due is not None), default=None)


def _when(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
