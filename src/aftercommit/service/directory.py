"""Names and ids: who calls, what they may see, what exists."""

import asyncio
from collections.abc import Iterable

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
from aftercommit.service.freshness import Freshness

# No application has this id: what nobody owns is nobody's.
NOBODY = 0


class Directory:
    """Looks names up in the present catalogue, and registers what may be registered in passing.

    What is missing may have been registered on another node a moment ago: whatever is looked up asynchronously is
    looked for in the database before it is called unknown. `since` (a mark of `freshness`) is for many look-ups of one
    request: they need no later news than those of its arrival, so that all of them ask the database once.
    """

    def __init__(self, store: Writer, *, clock: Clock, topics_auto_create: bool, checks_signed: bool) -> None:
        self._store = store
        self._clock = clock
        self._topics_auto_create = topics_auto_create
        self.checks_signed = checks_signed
        self._registering = asyncio.Lock()
        self.freshness = Freshness(store, clock=clock)

    @property
    def catalog(self) -> Catalog:
        """The present catalogue."""
        return self._store.catalog

    def app_id(self, caller: Caller) -> int:
        """The caller's application; an id that owns nothing, if it was never registered."""
        app = self.catalog.app(caller.app)
        return app.id if app is not None else NOBODY

    async def find_app_id(self, caller: Caller) -> int:
        """The same, registered anywhere."""
        if self.catalog.app(caller.app) is None:
            await self.freshness.refresh()
        return self.app_id(caller)

    async def operator_scope(self, caller: Caller) -> int | None:
        """Whose messages the caller may operate on: None means everybody's."""
        return None if caller.wide else await self.find_app_id(caller)

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

    async def find_app(self, name: str) -> App:
        """The application of that name, or `NotFound`."""
        if self.catalog.app(name) is None:
            await self.freshness.refresh()
        return require_app(self.catalog, name)

    async def look_for(self, *, app: str | None, topic: str | None) -> None:
        """Look for these names in the database if one of them is not known here."""
        catalog = self.catalog
        if (app is not None and catalog.app(app) is None) or (topic is not None and catalog.topic(topic) is None):
            await self.freshness.refresh()

    async def find_own_subscription(self, caller: Caller, topic_name: str, name: str) -> Subscription:
        """The caller's subscription, or `NotFound`, also where it is somebody else's."""
        try:
            return self._own_subscription(caller, topic_name, name)
        except NotFound:
            if not self.freshness.is_shared:
                raise
        await self.freshness.refresh()
        return self._own_subscription(caller, topic_name, name)

    async def know(
        self, *, apps: Iterable[int] = (), topics: Iterable[int] = (), subscriptions: Iterable[int] = ()
    ) -> None:
        """Look for these ids in the database if one of them is not known here."""
        if not self.freshness.is_shared:
            return
        catalog = self.catalog
        if not (
            catalog.apps.keys() >= set(apps)
            and catalog.topics.keys() >= set(topics)
            and catalog.subscriptions.keys() >= set(subscriptions)
        ):
            await self.freshness.refresh()

    async def know_of(self, messages: Iterable[Message]) -> None:
        """The same for everything these messages name."""
        if self.freshness.is_shared:
            each = list(messages)
            await self.know(
                apps=(message.app for message in each),
                topics=(message.topic for message in each if message.topic is not None),
                subscriptions=(delivery.subscription for message in each for delivery in message.deliveries),
            )

    async def ensure_app(self, name: str, since: int | None = None) -> App:
        """The application of that name, registered without a check address if it is new."""
        known = self.catalog.app(name)
        if known is not None:
            return known
        signed = self.checks_signed
        since = self.freshness.mark if since is None else since
        async with self._registering:
            await self.freshness.refresh(since)
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

    async def ensure_topic(self, name: str, app: App, since: int | None = None) -> Topic:
        """The topic of that name; created where that is allowed, else `Invalid`."""
        known = self.catalog.topic(name)
        if known is not None:
            return known
        since = self.freshness.mark if since is None else since
        if not self._topics_auto_create:
            await self.freshness.refresh(since)
            known = self.catalog.topic(name)
            if known is None:
                raise Invalid("unknown_topic", f"There is no topic {name[:140]!r}: register it first.", "/topic")
            return known
        async with self._registering:
            await self.freshness.refresh(since)
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

    def _own_subscription(self, caller: Caller, topic_name: str, name: str) -> Subscription:
        topic = require_topic(self.catalog, topic_name)
        found = self.catalog.subscription(topic.id, name)
        if found is None or found.app != self.app_id(caller):
            raise NotFound("unknown_subscription", f"Topic {topic_name!r} has no subscription {name!r} of yours.")
        return found
