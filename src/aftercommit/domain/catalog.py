"""Who and what the service knows besides messages: applications, topics, subscriptions.

A catalogue is an immutable snapshot. Every edit is a pure function from one to the next; stores persist the difference.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from aftercommit.domain.errors import Conflict, Invalid, NotFound
from aftercommit.domain.policies import Policy

DEFAULT_SUBSCRIPTION: Final = "default"
SECRETS_MAX: Final = 2
_APP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUBSCRIPTION_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A signing secret of an application (`whsec_...`)."""

    id: str
    value: str
    created_at: int

    def __repr__(self) -> str:
        return f"Secret(id={self.id!r}, value=***)"


class App(msgspec.Struct, frozen=True, kw_only=True):
    """A registered service. `secrets` holds at most two, oldest first."""

    id: int
    name: str
    created_at: int
    check_url: str | None = None
    check_signed: bool = True
    secrets: tuple[Secret, ...] = ()


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A named consumer group of a topic. `implicit`: the `default` a topic without subscriptions delivers to."""

    id: int
    topic: int
    name: str
    app: int
    implicit: bool = False
    push_url: str | None = None
    report: str | None = None
    policy: dict[str, object] = {}
    removed_at: int | None = None


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A named stream of messages; `policy` holds only what differs from the defaults."""

    id: int
    name: str
    app: int
    created_at: int
    policy: dict[str, object] = {}
    destination: dict[str, object] | None = None
    paused_at: int | None = None
    removed_at: int | None = None


class SubscriptionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as asked for."""

    name: str
    app: int
    push_url: str | None = None
    report: str | None = None
    policy: dict[str, object] = {}


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as asked for. `subscriptions` is the whole list; those missing from it are dropped."""

    name: str
    app: int
    subscriptions: tuple[SubscriptionSpec, ...] = ()
    policy: dict[str, object] = {}
    destination: dict[str, object] | None = None


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """The snapshot. Ids come from `next_id` and are never used again, so old messages keep their names."""

    next_id: int = 1
    apps: Mapping[int, App] = {}
    topics: Mapping[int, Topic] = {}
    subscriptions: Mapping[int, Subscription] = {}
    _apps_by_name: Mapping[str, App] = {}
    _topics_by_name: Mapping[str, Topic] = {}
    _subscriptions_by_name: Mapping[tuple[int, str], Subscription] = {}
    _routes: Mapping[int, tuple[Subscription, ...]] = {}
    _policies: Mapping[tuple[int, int | None], Policy] = {}

    @classmethod
    def of(
        cls,
        apps: Iterable[App] = (),
        topics: Iterable[Topic] = (),
        subscriptions: Iterable[Subscription] = (),
        next_id: int = 1,
    ) -> "Catalog":
        """A snapshot with its look-ups built."""
        app_list, topic_list, all_subscriptions = list(apps), list(topics), list(subscriptions)
        live = [topic for topic in topic_list if topic.removed_at is None]
        of_topic: dict[int, list[Subscription]] = {}
        for each in all_subscriptions:
            of_topic.setdefault(each.topic, []).append(each)
        policies: dict[tuple[int, int | None], Policy] = {
            (topic.id, None): Policy.merged(topic.policy) if topic.policy else _DEFAULT_POLICY for topic in topic_list
        }
        topics_by_id = {topic.id: topic for topic in topic_list}
        for each in all_subscriptions:
            policies[each.topic, each.id] = (
                Policy.merged(topics_by_id[each.topic].policy, each.policy)
                if each.policy
                else policies[each.topic, None]
            )
        return cls(
            next_id=next_id,
            apps={app.id: app for app in app_list},
            topics=topics_by_id,
            subscriptions={each.id: each for each in all_subscriptions},
            _apps_by_name={app.name: app for app in app_list},
            _topics_by_name={topic.name: topic for topic in live},
            _subscriptions_by_name={
                (each.topic, each.name): each for each in all_subscriptions if each.removed_at is None
            },
            _routes={topic.id: _route(of_topic.get(topic.id, ())) for topic in live},
            _policies=policies,
        )

    def app(self, name: str) -> App | None:
        """The application of that name."""
        return self._apps_by_name.get(name)

    def topic(self, name: str) -> Topic | None:
        """The topic of that name, unless it was removed."""
        return self._topics_by_name.get(name)

    def route(self, topic: int) -> tuple[Subscription, ...]:
        """The subscriptions a message confirmed now is delivered to: at least one while the topic lives."""
        return self._routes.get(topic, ())

    def subscription(self, topic: int, name: str) -> Subscription | None:
        """The topic's subscription of that name, the implicit one included, unless it was removed."""
        return self._subscriptions_by_name.get((topic, name))

    def explicit(self, topic: int) -> tuple[Subscription, ...]:
        """The subscriptions somebody registered."""
        return tuple(each for each in self.route(topic) if not each.implicit)

    def policy(self, topic: int | None, subscription: int | None = None) -> Policy:
        """The policy in force; the defaults for what has no topic (tombstones)."""
        if topic is None:
            return _DEFAULT_POLICY
        return self._policies[topic, subscription]


class CatalogEdit(msgspec.Struct, frozen=True, kw_only=True):
    """The next snapshot, and what the store must look at before it may be kept.

    A dropped subscription with open deliveries, or a removed topic with live or parked messages, refuses the edit;
    with `force`, a dropped subscription's open deliveries are discarded instead.
    """

    catalog: Catalog
    created: bool = False
    dropped_subscriptions: tuple[int, ...] = ()
    removed_topics: tuple[int, ...] = ()
    force: bool = False


_DEFAULT_POLICY: Final = Policy()


def put_app(
    catalog: Catalog,
    name: str,
    now: int,
    *,
    check_url: str | None,
    check_signed: bool,
    first_secret: Secret | None = None,
) -> CatalogEdit:
    """Register an application, or replace its check address. `first_secret` is for one that has none yet."""
    known = catalog.app(name)
    if known is None:
        require_name(_APP_NAME, name, "invalid_app", "/app")
        app = App(id=catalog.next_id, name=name, created_at=now, check_url=check_url, check_signed=check_signed)
    else:
        app = msgspec.structs.replace(known, check_url=check_url, check_signed=check_signed)
    if first_secret is not None and not app.secrets:
        app = msgspec.structs.replace(app, secrets=(first_secret,))
    return CatalogEdit(catalog=_with(catalog, apps=[app]), created=known is None)


def add_secret(catalog: Catalog, app_name: str, secret: Secret) -> CatalogEdit:
    """Give an application one more signing secret; the older of two already there is retired."""
    app = require_app(catalog, app_name)
    kept = (*app.secrets, secret)[-SECRETS_MAX:]
    return CatalogEdit(catalog=_with(catalog, apps=[msgspec.structs.replace(app, secrets=kept)]), created=True)


def put_topic(catalog: Catalog, spec: TopicSpec, now: int, *, force: bool = False) -> CatalogEdit:
    """Create a topic, or make it and its subscriptions what `spec` says."""
    require_name(_TOPIC_NAME, spec.name, "invalid_topic", "/topic")
    known = catalog.topic(spec.name)
    if known is None:
        topic = Topic(
            id=catalog.next_id,
            name=spec.name,
            app=spec.app,
            created_at=now,
            policy=spec.policy,
            destination=spec.destination,
        )
        implicit = Subscription(id=topic.id + 1, topic=topic.id, name=DEFAULT_SUBSCRIPTION, app=spec.app, implicit=True)
        catalog = _with(catalog, topics=[topic], subscriptions=[implicit])
    else:
        topic = msgspec.structs.replace(known, policy=spec.policy, destination=spec.destination)
        catalog = _with(catalog, topics=[topic])
    wanted = _subscriptions(catalog, topic, spec.subscriptions)
    kept = {each.id for each in wanted}
    dropped = tuple(each.id for each in catalog.explicit(topic.id) if each.id not in kept)
    gone = [_dropped(catalog.subscriptions[each], topic, now) for each in dropped]
    _require_no_collision(catalog, wanted)
    return CatalogEdit(
        catalog=_with(catalog, subscriptions=[*wanted, *gone]),
        created=known is None,
        dropped_subscriptions=dropped,
        force=force,
    )


def remove_topic(catalog: Catalog, name: str, now: int) -> CatalogEdit:
    """Forget a topic and its subscriptions; messages that are settled keep its name."""
    topic = require_topic(catalog, name)
    gone = msgspec.structs.replace(topic, removed_at=now)
    dropped = [msgspec.structs.replace(each, removed_at=now) for each in catalog.route(topic.id)]
    return CatalogEdit(catalog=_with(catalog, topics=[gone], subscriptions=dropped), removed_topics=(topic.id,))


def pause_topic(catalog: Catalog, name: str, paused_at: int | None) -> CatalogEdit:
    """Stop sending, redelivery and pull of a topic, or (with None) let them go on."""
    topic = msgspec.structs.replace(require_topic(catalog, name), paused_at=paused_at)
    return CatalogEdit(catalog=_with(catalog, topics=[topic]))


def require_topic(catalog: Catalog, name: str) -> Topic:
    """The topic, or `NotFound`."""
    topic = catalog.topic(name)
    if topic is None:
        raise NotFound("unknown_topic", f"There is no topic {name!r}.")
    return topic


def require_app(catalog: Catalog, name: str) -> App:
    """The application, or `NotFound`."""
    app = catalog.app(name)
    if app is None:
        raise NotFound("unknown_app", f"There is no application {name!r}.")
    return app


def require_name(pattern: re.Pattern[str], name: str, code: str, pointer: str) -> None:
    """Refuse a name that its pattern does not match in full."""
    if not pattern.fullmatch(name):
        raise Invalid(code, f"{name[:80]!r} is not a name of the form {pattern.pattern}.", pointer)


def _with(
    catalog: Catalog,
    *,
    apps: Sequence[App] = (),
    topics: Sequence[Topic] = (),
    subscriptions: Sequence[Subscription] = (),
) -> Catalog:
    all_apps = {**catalog.apps, **{app.id: app for app in apps}}
    all_topics = {**catalog.topics, **{topic.id: topic for topic in topics}}
    all_subscriptions = {**catalog.subscriptions, **{each.id: each for each in subscriptions}}
    highest = max([0, *all_apps, *all_topics, *all_subscriptions])
    return Catalog.of(
        all_apps.values(),
        all_topics.values(),
        all_subscriptions.values(),
        next_id=max(catalog.next_id, highest + 1),
    )


def _route(subscriptions: Iterable[Subscription]) -> tuple[Subscription, ...]:
    present = [each for each in subscriptions if each.removed_at is None]
    return tuple(each for each in present if not each.implicit) or tuple(present)


def _subscriptions(catalog: Catalog, topic: Topic, specs: Sequence[SubscriptionSpec]) -> list[Subscription]:
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise Invalid("invalid_subscription", "A subscription is named twice.", "/subscriptions")
    known = {each.name: each for each in catalog.subscriptions.values() if each.topic == topic.id}
    next_id = catalog.next_id
    wanted = []
    for spec in specs:
        require_name(_SUBSCRIPTION_NAME, spec.name, "invalid_subscription", "/subscriptions")
        if spec.name in known:
            each_id = known[spec.name].id
        else:
            each_id, next_id = next_id, next_id + 1
        wanted.append(
            Subscription(
                id=each_id,
                topic=topic.id,
                name=spec.name,
                app=spec.app,
                push_url=spec.push_url,
                report=spec.report,
                policy=spec.policy,
            )
        )
    return wanted


def _dropped(subscription: Subscription, topic: Topic, now: int) -> Subscription:
    # A dropped `default` becomes the implicit one again, so that the topic always has somewhere to deliver to.
    if subscription.name == DEFAULT_SUBSCRIPTION:
        return Subscription(id=subscription.id, topic=topic.id, name=subscription.name, app=topic.app, implicit=True)
    return msgspec.structs.replace(subscription, removed_at=now)


def _derived_name(catalog: Catalog, subscription: Subscription) -> str:
    topic = catalog.topics[subscription.topic].name
    return f"{topic.replace('.', '_')}__{subscription.name}"


def _require_no_collision(catalog: Catalog, wanted: Sequence[Subscription]) -> None:
    ours = {each.id for each in wanted}
    taken = {
        _derived_name(catalog, each): each
        for each in catalog.subscriptions.values()
        if each.id not in ours and not each.implicit and each.removed_at is None
    }
    for each in wanted:
        name = _derived_name(catalog, each)
        if name in taken:
            other = taken[name]
            raise Conflict(
                "name_collision",
                f"Subscription {each.name!r} would be called {name!r} at a broker, as subscription"
                f" {other.name!r} of topic {catalog.topics[other.topic].name!r} already is.",
            )
        taken[name] = each
