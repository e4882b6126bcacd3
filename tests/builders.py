"""Ready-made parts for tests: ids, messages to prepare, and a small world of applications, topics and subscriptions."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aftercommit.domain.catalog import Catalog, CatalogEdit, SubscriptionSpec, TopicSpec, put_app, put_topic
from aftercommit.domain.commands import Prepare
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Content, Due, DueKind, Message, PayloadForm

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# The moment every test begins at.
T0 = 1_760_000_000_000

ORDERS = "orders"  # the initiator; it owns the topic
BILLING = "billing"  # a consumer
SHIPPING = "shipping"  # another consumer
TOPIC = "orders.created"


@dataclass(frozen=True, slots=True)
class World:
    """A catalogue and the ids in it that tests need. `subscriptions` maps names of the topic to ids."""

    catalog: Catalog
    orders: int
    billing: int
    shipping: int
    topic: int
    subscriptions: Mapping[str, int]

    @property
    def default(self) -> int:
        """The topic's `default` subscription; implicit unless the test registered it."""
        return self.subscriptions["default"]


class HasCatalog(Protocol):
    """The part of a store that a world is put into."""

    @property
    def catalog(self) -> Catalog:
        """The present catalogue."""

    async def edit_catalog(self, edit: Callable[[Catalog], CatalogEdit], now: int) -> CatalogEdit:
        """Apply an edit."""


def message_id(number: int) -> str:
    """The id of a test's message; a greater number sorts later."""
    return f"{T0 >> 16:08x}-{T0 & 0xFFFF:04x}-7000-8000-{number:012x}"


def make_content(
    payload: bytes = b'{"order":42}',
    *,
    form: PayloadForm = PayloadForm.JSON,
    content_type: str = "application/json",
    key: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    check_hint: str | None = None,
    traceparent: str | None = None,
) -> Content:
    """Content whose fingerprint differs when anything compared by a repeated prepare differs."""
    compared = (form.value, payload, content_type, key, sorted(headers), check_hint)
    return Content(
        content_type=content_type,
        form=form,
        payload=payload,
        fingerprint=hashlib.sha256(repr(compared).encode()).digest(),
        key=key,
        headers=tuple(headers),
        check_hint=check_hint,
        traceparent=traceparent,
    )


def make_prepare(
    world: World,
    number: int = 1,
    *,
    now: int = T0,
    confirmed: bool = False,
    delay: int = 0,
    check_after: int = MINUTE,
    app: int | None = None,
    topic: int | None = None,
    content: Content | None = None,
) -> Prepare:
    """Message `number` of the orders application, to be checked after `check_after`; all durations in milliseconds."""
    owner = world.orders if app is None else app
    return Prepare(
        message=Message(
            id=message_id(number),
            app=owner,
            topic=world.topic if topic is None else topic,
            status=Status.PENDING_SEND if confirmed else Status.PENDING_CONFIRMATION,
            prepared_at=now,
            deliver_at=now + delay if delay else None,
            due=None if confirmed else Due(DueKind.CHECK, owner, now + check_after),
        ),
        content=content or make_content(),
    )


def make_world(
    subscriptions: Mapping[str, str] | None = None,
    *,
    policy: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
) -> World:
    """A world without a store. `subscriptions` maps names to the applications that own them; none: implicit default."""
    catalog = catalog or Catalog.of()
    for edit in world_edits(subscriptions, policy=policy):
        catalog = edit(catalog).catalog
    return world_of(catalog)


async def set_up_world(
    store: HasCatalog,
    subscriptions: Mapping[str, str] | None = None,
    *,
    policy: Mapping[str, object] | None = None,
    now: int = T0,
) -> World:
    """The same world in a store. Calling it again changes the topic's subscriptions and policy."""
    for edit in world_edits(subscriptions, policy=policy, now=now):
        await store.edit_catalog(edit, now)
    return world_of(store.catalog)


def world_edits(
    subscriptions: Mapping[str, str] | None = None,
    *,
    policy: Mapping[str, object] | None = None,
    topic: str = TOPIC,
    now: int = T0,
    force: bool = False,
) -> list[Callable[[Catalog], CatalogEdit]]:
    """The edits that make a world of an empty catalogue."""

    def register(name: str) -> Callable[[Catalog], CatalogEdit]:
        return lambda catalog: put_app(catalog, name, now, check_url=None, check_signed=False)

    def put(catalog: Catalog) -> CatalogEdit:
        specs = tuple(
            SubscriptionSpec(name=name, app=_app(catalog, owner)) for name, owner in (subscriptions or {}).items()
        )
        spec = TopicSpec(name=topic, app=_app(catalog, ORDERS), subscriptions=specs, policy=dict(policy or {}))
        return put_topic(catalog, spec, now, force=force)

    return [register(ORDERS), register(BILLING), register(SHIPPING), put]


def world_of(catalog: Catalog, topic: str = TOPIC) -> World:
    """The ids of a catalogue that `world_edits` made."""
    found = catalog.topic(topic)
    assert found is not None
    return World(
        catalog=catalog,
        orders=_app(catalog, ORDERS),
        billing=_app(catalog, BILLING),
        shipping=_app(catalog, SHIPPING),
        topic=found.id,
        subscriptions={each.name: each.id for each in catalog.subscriptions.values() if each.topic == found.id},
    )


def _app(catalog: Catalog, name: str) -> int:
    app = catalog.app(name)
    assert app is not None
    return app.id
