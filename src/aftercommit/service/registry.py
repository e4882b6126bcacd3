"""Applications and topics: registered, read, changed."""

from collections.abc import Callable

from aftercommit.domain.catalog import (
    Catalog,
    Secret,
    SubscriptionSpec,
    TopicSpec,
    add_secret,
    pause_topic,
    put_app,
    put_topic,
    remove_topic,
    require_app,
    require_topic,
)
from aftercommit.domain.errors import Invalid
from aftercommit.ports.clock import Clock
from aftercommit.ports.store import Writer
from aftercommit.service.caller import Caller
from aftercommit.service.directory import Directory
from aftercommit.service.views import app_answer, topic_answer
from aftercommit.wire import (
    AppAnswer,
    AppRequest,
    SecretAnswer,
    SubscriptionRequest,
    TopicAnswer,
    TopicRequest,
    TopicsAnswer,
    rfc3339,
)

# Raises `Invalid` for an address the service must not call.
RequireAddress = Callable[[str], None]


class Registry:
    """Who there is, and what they listen to."""

    def __init__(
        self,
        store: Writer,
        directory: Directory,
        *,
        clock: Clock,
        require_address: RequireAddress,
        new_secret: Callable[[], str],
        new_id: Callable[[], str],
        changed: Callable[[int], None],
        address_changed: Callable[[int], None],
    ) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._require_address = require_address
        self._new_secret = new_secret
        self._new_id = new_id
        self._changed = changed
        self._address_changed = address_changed

    async def put_app(self, caller: Caller, name: str, request: AppRequest) -> tuple[AppAnswer, bool]:
        """Register an application. The first time it gets a signing secret, shown in this answer only."""
        if request.check_url is not None:
            self._require_address(request.check_url)
        signed = self._directory.checks_signed if request.check_signed is None else request.check_signed
        now = self._clock.now()
        secret = self._make_secret(now)
        # One edit: of several registrations at once exactly one gives the application its first secret, and shows it.
        edit = await self._store.edit_catalog(
            lambda catalog: put_app(
                catalog, name, now, check_url=request.check_url, check_signed=signed, first_secret=secret
            ),
            now,
        )
        app = require_app(edit.catalog, name)
        self._address_changed(app.id)
        return app_answer(app, shown=secret.id), edit.created

    async def get_app(self, caller: Caller, name: str) -> AppAnswer:
        """A registered application; its secrets are only named."""
        await self._directory.freshness.refresh()
        return app_answer(require_app(self._directory.catalog, name))

    async def add_secret(self, caller: Caller, name: str) -> SecretAnswer:
        """Make one more signing secret. Two are valid at a time; a third retires the oldest."""
        now = self._clock.now()
        secret = self._make_secret(now)
        await self._store.edit_catalog(lambda catalog: add_secret(catalog, name, secret), now)
        return SecretAnswer(id=secret.id, created_at=rfc3339(secret.created_at), secret=secret.value)

    async def put_topic(
        self, caller: Caller, name: str, request: TopicRequest, *, force: bool = False
    ) -> tuple[TopicAnswer, bool]:
        """Create or change a topic. What the request leaves out stays as it is."""
        came = self._directory.freshness.mark
        owner = await self._directory.ensure_app(caller.app, came)
        listed = None
        if request.subscriptions is not None:
            listed = [await self._spec(caller, each, came) for each in request.subscriptions]
        now = self._clock.now()
        # What stays is looked up inside the edit, so that of two changes at once neither undoes the other.
        edit = await self._store.edit_catalog(
            lambda catalog: put_topic(
                catalog, _changed_spec(catalog, owner.id, name, request, listed), now, force=force or request.force
            ),
            now,
        )
        topic = require_topic(self._directory.catalog, name)
        self._changed(topic.id)
        return topic_answer(topic, self._directory), edit.created

    async def get_topic(self, name: str) -> TopicAnswer:
        """A topic, or `NotFound`."""
        await self._directory.freshness.refresh()
        return topic_answer(require_topic(self._directory.catalog, name), self._directory)

    async def list_topics(self) -> TopicsAnswer:
        """All topics by name."""
        await self._directory.freshness.refresh()
        live = [each for each in self._directory.catalog.topics.values() if each.removed_at is None]
        named = sorted(live, key=lambda topic: topic.name)
        return TopicsAnswer(topics=[topic_answer(each, self._directory) for each in named])

    async def delete_topic(self, name: str) -> None:
        """Forget a topic that has no live or parked message."""
        now = self._clock.now()
        await self._store.edit_catalog(lambda catalog: remove_topic(catalog, name, now), now)

    async def pause(self, name: str) -> TopicAnswer:
        """Stop sending, redelivery and pull. Prepare, confirm, reports and check-back go on."""
        return await self._set_paused(name, self._clock.now())

    async def resume(self, name: str) -> TopicAnswer:
        """Let a paused topic go on."""
        return await self._set_paused(name, None)

    async def _set_paused(self, name: str, paused_at: int | None) -> TopicAnswer:
        await self._store.edit_catalog(lambda catalog: pause_topic(catalog, name, paused_at), self._clock.now())
        topic = require_topic(self._directory.catalog, name)
        self._changed(topic.id)
        return topic_answer(topic, self._directory)

    async def _spec(self, caller: Caller, request: SubscriptionRequest, came: int) -> SubscriptionSpec:
        if request.push_url is not None or request.report is not None:
            raise Invalid(
                "push_not_supported", "HTTP push is not in this version: leave push_url out.", "/subscriptions"
            )
        app = await self._directory.ensure_app(request.app or caller.app, came)
        return SubscriptionSpec(name=request.name, app=app.id, policy=request.policy or {})

    def _make_secret(self, now: int) -> Secret:
        return Secret(id=self._new_id(), value=self._new_secret(), created_at=now)


def _changed_spec(
    catalog: Catalog, owner: int, name: str, request: TopicRequest, listed: list[SubscriptionSpec] | None
) -> TopicSpec:
    known = catalog.topic(name)
    if known is None:
        return TopicSpec(
            name=name,
            app=owner,
            subscriptions=tuple(listed or ()),
            policy=request.policy or {},
            destination=request.destination,
        )
    kept = [
        SubscriptionSpec(name=each.name, app=each.app, push_url=each.push_url, report=each.report, policy=each.policy)
        for each in catalog.explicit(known.id)
    ]
    return TopicSpec(
        name=name,
        app=owner,
        subscriptions=tuple(kept if listed is None else listed),
        policy=known.policy if request.policy is None else request.policy,
        destination=known.destination if request.destination is None else request.destination,
    )
