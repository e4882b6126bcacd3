"""Every call of an operator, and of who registers applications and topics, as a value."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict

import msgspec

from aftercommit import wire
from aftercommit.sdk.clients.calls import Call, get, listed, on_message, path, post, with_body
from aftercommit.sdk.messages import StoredMessage, timestamp

_NO_BODY = b"{}"


class MessageFilters(TypedDict, total=False):
    """What a list of messages may be narrowed to; all of them together.

    `status`, `topic`, `app`, `key`: exactly these. `since`, `until`: prepared in this span (a datetime with a zone,
    or RFC 3339). `error`: part of the last error. `q`: the service's own search. `limit`: messages per page.
    """

    status: str | None
    topic: str | None
    app: str | None
    key: str | None
    since: datetime | str | None
    until: datetime | str | None
    error: str | None
    q: str | None
    limit: int | None


class TopicOptions(TypedDict, total=False):
    """What a topic is made of besides its name. What is not given stays as it is.

    `subscriptions`: all of them, a name or a `wire.SubscriptionRequest` each; one that is missing is dropped.
    `policy`: all that differs from the defaults, durations in seconds. `destination`: where at the broker it goes.
    `force`: drop subscriptions with open deliveries too; those are given up.
    """

    subscriptions: Sequence[wire.SubscriptionRequest | str] | None
    policy: dict[str, Any] | None
    destination: dict[str, Any] | None
    force: bool


def message(message_id: str) -> Call[StoredMessage]:
    """Everything about one message."""
    return get("message", path("v1", "messages", message_id), StoredMessage)


def messages_page(filters: MessageFilters, cursor: str | None = None) -> Call[wire.MessagesAnswer]:
    """One page of a list, newest first."""
    query = {**filters, "since": timestamp(filters.get("since")), "until": timestamp(filters.get("until"))}
    return get("messages_page", "/v1/messages", wire.MessagesAnswer, {**query, "cursor": cursor})


def stats() -> Call[wire.StatsAnswer]:
    """Counts, rates and ages."""
    return get("stats", "/v1/stats", wire.StatsAnswer)


def put_topic(topic: str, options: TopicOptions) -> Call[wire.TopicAnswer]:
    """Make a topic what `options` says."""
    subscriptions = options.get("subscriptions")
    request = wire.TopicRequest(
        subscriptions=None
        if subscriptions is None
        else [wire.SubscriptionRequest(name=each) if isinstance(each, str) else each for each in subscriptions],
        policy=options.get("policy"),
        destination=options.get("destination"),
        force=options.get("force", False),
    )
    body = msgspec.json.encode(request)
    return with_body("put_topic", path("v1", "topics", topic), body, wire.TopicAnswer, method="PUT")


def topic(name: str) -> Call[wire.TopicAnswer]:
    """One topic."""
    return get("topic", path("v1", "topics", name), wire.TopicAnswer)


def topics() -> Call[wire.TopicsAnswer]:
    """Every topic."""
    return get("topics", "/v1/topics", wire.TopicsAnswer)


def delete_topic(name: str) -> Call[None]:
    """Forget a topic that has no live or parked messages."""
    return Call("delete_topic", "DELETE", path("v1", "topics", name), type(None))


def pause(name: str) -> Call[wire.TopicAnswer]:
    """Stop sending, redelivery and pull of a topic."""
    return with_body("pause", path("v1", "topics", name, "pause"), _NO_BODY, wire.TopicAnswer)


def resume(name: str) -> Call[wire.TopicAnswer]:
    """Let a paused topic go on."""
    return with_body("resume", path("v1", "topics", name, "resume"), _NO_BODY, wire.TopicAnswer)


def put_app(app: str, check_url: str | None = None, check_signed: bool | None = None) -> Call[wire.AppAnswer]:
    """Register an application, or change its check address."""
    request = wire.AppRequest(check_url=check_url, check_signed=check_signed)
    body = msgspec.json.encode(request)
    return with_body("put_app", path("v1", "apps", app), body, wire.AppAnswer, method="PUT")


def app(name: str) -> Call[wire.AppAnswer]:
    """One application."""
    return get("app", path("v1", "apps", name), wire.AppAnswer)


def add_secret(name: str) -> Call[wire.SecretAnswer]:
    """Make a signing secret. Not repeatable: a second one would push out the one before."""
    return with_body("add_secret", path("v1", "apps", name, "secrets"), _NO_BODY, wire.SecretAnswer, repeatable=False)


def resolve(message_id: str, outcome: str, reason: str) -> Call[wire.MessageStatus]:
    """Decide what nobody could tell: `committed` or `rolled_back`."""
    return on_message(message_id, "resolve", wire.ResolveRequest(outcome=outcome, reason=reason))


def recheck(message_id: str) -> Call[wire.MessageStatus]:
    """Ask the initiator now."""
    return on_message(message_id, "recheck", wire.RecheckRequest())


def redeliver(
    message_id: str, subscriptions: Sequence[str] | None = None, reason: str | None = None
) -> Call[wire.MessageStatus]:
    """Send again."""
    request = wire.RedeliverRequest(subscriptions=listed(subscriptions), reason=reason)
    return on_message(message_id, "redeliver", request)


def discard(message_id: str, reason: str) -> Call[wire.MessageStatus]:
    """Give up a delivery."""
    return on_message(message_id, "discard", wire.DiscardRequest(reason=reason))


def pull_checks(
    name: str, checks_max: int = wire.CHECKS_PER_CALL_MAX, wait_seconds: float = 0
) -> Call[wire.ChecksAnswer]:
    """Fetch due checks. A check counts as made once handed out."""
    request = wire.ChecksPullRequest(max=checks_max, wait_seconds=wait_seconds)
    call_path = path("v1", "apps", name, "checks", "pull")
    return post("pull_checks", call_path, request, wire.ChecksAnswer, wait_seconds=wait_seconds)


def answer_checks(name: str, results: Sequence[wire.CheckResult]) -> Call[wire.BatchAnswer]:
    """Answer checks that were fetched."""
    request = wire.CheckResults(results=list(results))
    call = post("answer_checks", path("v1", "apps", name, "checks"), request, wire.BatchAnswer)
    return replace(call, items=len(results))
