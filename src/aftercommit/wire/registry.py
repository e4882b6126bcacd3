"""Applications, topics, subscriptions."""

from typing import Any

from msgspec import UNSET, UnsetType

from aftercommit.wire.shape import Answer, Request


class AppRequest(Request, frozen=True):
    """`PUT /v1/apps/{app}`. `check_signed` left out: signed answers are required, except on a node without keys."""

    check_url: str | None = None
    check_signed: bool | None = None


class SecretAnswer(Answer, frozen=True, omit_defaults=False):
    """A signing secret. `secret` is there once, in the answer that made it."""

    id: str
    created_at: str
    secret: str | UnsetType = UNSET


class AppAnswer(Answer, frozen=True, omit_defaults=False):
    """A registered application."""

    app: str
    check_url: str | None
    check_signed: bool
    secrets: list[SecretAnswer]
    created_at: str


class SubscriptionRequest(Request, frozen=True):
    """A subscription of a topic; `app` defaults to the caller."""

    name: str
    app: str | None = None
    push_url: str | None = None
    report: str | None = None
    policy: dict[str, Any] | None = None


class TopicRequest(Request, frozen=True):
    """`PUT /v1/topics/{topic}`: the whole list of subscriptions; those missing from it are dropped."""

    subscriptions: list[SubscriptionRequest] | None = None
    policy: dict[str, Any] | None = None
    destination: dict[str, Any] | None = None
    force: bool = False


class SubscriptionAnswer(Answer, frozen=True, omit_defaults=False):
    """A subscription with the policy in force."""

    name: str
    app: str
    implicit: bool
    policy: dict[str, Any]
    push_url: str | None = None
    report: str | None = None


class TopicAnswer(Answer, frozen=True, omit_defaults=False):
    """A topic with the policy in force."""

    topic: str
    app: str
    paused: bool
    subscriptions: list[SubscriptionAnswer]
    policy: dict[str, Any]
    destination: dict[str, Any] | None
    created_at: str


class TopicsAnswer(Answer, frozen=True):
    """`GET /v1/topics`."""

    topics: list[TopicAnswer]
