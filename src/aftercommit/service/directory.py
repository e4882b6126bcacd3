"""Names and ids: who calls, what they may see, what exists."""

import asyncio

from aftercommit.domain.catalog import (
    App,
    Catalog,
    CatalogEdit,
    Subscription,
    Topic,
    TopicSpec,
    put_app,
    put_topic,
    require_app,
    require_topic,
)
from aftercommit.domain.errors import Invalid, NotFound
from aftercommit.domain.message import Message
from aftercommit.ports.clock import Clock
from aftercommit.ports.store import Writer
from aftercommit.service.caller import Caller

# No application has this id: what nobody owns is nobody's.
NOBODY = 0


class Directory:
    """Looks names up in the present catalogue, and registers what may be registered in passing."""

    def __init__(self, store: Writer, *, clock: Clock, topics_auto_create: bool, checks_signed: bool) -> None:
        self._store = store
        self._clock = clock
        self._topics_auto_create = topics_auto_create
        self.checks_signed = checks_signed
        self._registering = asyncio.Lock()

    @property
    def catalog(self) -> Catalog:
        """The present catalogue."""
        return self._store.catalog

    def app_id(self, caller: Caller) -> int:
        """The caller's application; an id that owns nothing, if it was never registered."""
        app = self.catalog.app(caller.app)
        return app.id if app is not None else NOBODY

    def operator_scope(self, caller: Caller) -> int | None:
        """Whose messages the caller may operate on: None means everybody's."""
        return None if caller.wide else self.app_id(caller)

    def app_name(self, app: int) -> str:
        """An application's name."""
        return self.catalog.apps[app].name

    def topic_name(self, topic: int | None) -> str | None:
        """A topic's name, also of one that was removed; None for a tombstone's."""
        return None if topic is None else self.catalog.topics[topic].name

    def may_see(self, caller: Caller, message: Message) -> bool:
        """Whether the message is the caller's, or delivered to a subscription of the caller's."""
        app = self.app_id(caller)
        return (
            caller.wide
            or message.app == app
            or any(self.catalog.subscriptions[each.subscription].app == app for each in message.deliveries)
        )

    def own_subscription(self, caller: Caller, topic_name: str, name: str) -> Subscription:
        """The caller's subscription, or `NotFound`, also where it is somebody else's."""
        topic = require_topic(self.catalog, topic_name)
        found = self.catalog.subscription(topic.id, name)
        if found is None or found.app != self.app_id(caller):
            raise NotFound("unknown_subscription", f"Topic {topic_name!r} has no subscription {name!r} of yours.")
        return found

    async def ensure_app(self, name: str) -> App:
        """The application of that name, registered without a check address if it is new."""
        known = self.catalog.app(name)
        if known is not None:
            return known
        signed = self.checks_signed
        async with self._registering:
            known = self.catalog.app(name)
            if known is None:
                # Decided inside the edit: a registration that was asked for meanwhile must not be undone.
                await self._store.edit_catalog(
                    lambda catalog: (
                        CatalogEdit(catalog=catalog)
                        if catalog.app(name)
                        else put_app(catalog, name, self._clock.now(), check_url=None, check_signed=signed)
                    ),
                    self._clock.now(),
                )
        return require_app(self.catalog, name)

    async def ensure_topic(self, name: str, app: App) -> Topic:
        """The topic of that name; created where that is allowed, else `Invalid`."""
        known = self.catalog.topic(name)
        if known is not None:
            return known
        if not self._topics_auto_create:
            raise Invalid("unknown_topic", f"There is no topic {name[:140]!r}: register it first.", "/topic")
        async with self._registering:
            if self.catalog.topic(name) is None:
                spec = TopicSpec(name=name, app=app.id)
                await self._store.edit_catalog(
                    lambda catalog: (
                        CatalogEdit(catalog=catalog)
                        if catalog.topic(name)
                        else put_topic(catalog, spec, self._clock.now())
                    ),
                    self._clock.now(),
                )
        return require_topic(self.catalog, name)
