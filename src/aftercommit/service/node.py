"""A node: the services over one store and one broker, and the loops that keep them going."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from math import inf

import msgspec

from aftercommit.domain.catalog import Catalog
from aftercommit.ports.broker import Broker, PullBroker
from aftercommit.ports.checkback import Checkback
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Shared, Store
from aftercommit.service import checking, dispatch, freshness, heartbeat, redelivery, retention, timekeeping
from aftercommit.service.checking import Checking
from aftercommit.service.directory import Directory
from aftercommit.service.dispatch import Dispatcher
from aftercommit.service.gathering import Gatherer
from aftercommit.service.heartbeat import Heartbeat
from aftercommit.service.inspection import Inspection
from aftercommit.service.intake import Intake
from aftercommit.service.loop import STALE_AFTER_SECONDS, Loop, RunOnce, Supervisor
from aftercommit.service.operation import Operation
from aftercommit.service.pulling import Pulling
from aftercommit.service.readiness import Readiness
from aftercommit.service.redelivery import Redeliverer
from aftercommit.service.registry import Registry, RequireAddress
from aftercommit.service.reports import Reports
from aftercommit.service.retention import Retention
from aftercommit.service.timekeeping import Timekeeper
from aftercommit.settings import ROLES


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The doors of a node, for the API and the dashboard."""

    intake: Intake
    reports: Reports
    pulling: Pulling
    registry: Registry
    inspection: Inspection
    operation: Operation
    checking: Checking
    readiness: Readiness


class Chance(msgspec.Struct, frozen=True, kw_only=True):
    """Everything drawn at random. `draw`: a number in [0, 1); `new_id`: a UUIDv7; `new_secret`: a signing secret."""

    draw: Callable[[], float]
    new_id: Callable[[], str]
    new_secret: Callable[[], str]


class Backends(msgspec.Struct, frozen=True, kw_only=True):
    """What a node stands on. `pulls` is the broker itself where consumers pull from it, else None; `shared` is what a
    database has that several nodes use.
    """

    store: Store
    broker: Broker
    pulls: PullBroker | None
    checkback: Checkback
    clock: Clock
    observer: Observer
    shared: Shared | None = None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How the node's clock is kept right: see `service.timekeeping`."""

    database_ms: Callable[[], Awaitable[int]]
    refresh: Callable[[int], int]
    jumped: Callable[[], bool]


class Node:
    """Builds the services and runs the loops of the given roles."""

    def __init__(
        self,
        backends: Backends,
        chance: Chance,
        timing: Timing,
        *,
        roles: tuple[str, ...] = ROLES,
        keyless: bool,
        require_address: RequireAddress,
        rates: Callable[[], Mapping[str, float]],
        address: Callable[[], str] = str,
    ) -> None:
        self._backends = backends
        self._chance = chance
        store, clock, observer = backends.store, backends.clock, backends.observer
        self.supervisor = Supervisor()
        self.gatherer = Gatherer(store, clock=clock, observer=observer)
        self._directory = Directory(store, clock=clock, topics_auto_create=keyless, checks_signed=not keyless)
        self._dispatcher = Dispatcher(
            store,
            self.gatherer,
            self._directory,
            backends.broker,
            pulls=backends.pulls,
            clock=clock,
            observer=observer,
            finished=self._wake_dispatch,
        )
        self._heartbeat = (
            None
            if backends.shared is None
            else Heartbeat(
                backends.shared,
                node_id=chance.new_id(),
                address=address,
                roles=roles,
                clock=clock,
                observer=observer,
            )
        )
        self._timekeeper = Timekeeper(
            database_ms=timing.database_ms,
            refresh=timing.refresh,
            jumped=timing.jumped,
            clock=clock,
            observer=observer,
        )
        self._dispatch_loop = self._loop("dispatch", self._dispatcher.run_once, dispatch.SWEEP_SECONDS)
        self.services = self._build_services(require_address, rates)
        self._supervise(roles, timing)

    async def take_time(self) -> None:
        """Set the node's clock by the database's: best when the store is open, and before the doors are."""
        await self._timekeeper.run_once()

    async def start(self) -> None:
        """Start the loops. The store is open already."""
        await self._backends.broker.open()
        self._directory.freshness.follow(self._catalog_changed)
        self._dispatcher.declare_all()
        self.supervisor.start()
        # What was due while nobody ran is sent at once, not after the loop's staggered first pause.
        self._dispatch_loop.wake()

    async def stop(self) -> None:
        """Claim nothing more, finish what runs, send waiting consumers home. The doors still answer."""
        self.services.readiness.stop()
        self.services.pulling.stop()
        self.services.checking.stop()
        await self.supervisor.stop()
        await asyncio.gather(self.services.checking.drain(), self._dispatcher.drain(), self._redeliverer.drain())
        if self._heartbeat is not None:
            await self._heartbeat.retire()

    async def close(self) -> None:
        """Write what was handed in, then let go of everything. Call it when the doors are closed."""
        await self.gatherer.drain()
        await self._backends.checkback.close()
        await self._backends.broker.close()
        await self._backends.store.close()

    def _build_services(self, require_address: RequireAddress, rates: Callable[[], Mapping[str, float]]) -> Services:
        store, clock, observer = self._backends.store, self._backends.clock, self._backends.observer
        chance, directory, gatherer, pulls = self._chance, self._directory, self.gatherer, self._backends.pulls
        shared = store.capabilities.shared
        checks = Checking(
            gatherer,
            store,
            directory,
            self._backends.checkback,
            clock=clock,
            observer=observer,
            wake=self._wake,
            chance=chance.draw,
            shared=shared,
        )
        return Services(
            intake=Intake(
                gatherer,
                store,
                directory,
                clock=clock,
                observer=observer,
                chance=chance.draw,
                new_id=chance.new_id,
                wake=self._wake,
                announce=None if pulls is None else pulls.announce,
            ),
            reports=Reports(gatherer, directory, observer=observer),
            pulling=Pulling(
                gatherer,
                directory,
                pulls,
                clock=clock,
                observer=observer,
                chance=chance.draw,
                shared=shared,
            ),
            registry=Registry(
                store,
                directory,
                clock=clock,
                require_address=require_address,
                new_secret=chance.new_secret,
                new_id=chance.new_id,
                changed=self._topic_changed,
                address_changed=checks.address_changed,
            ),
            inspection=Inspection(store, directory, clock=clock, rates=rates),
            operation=Operation(
                gatherer,
                store,
                directory,
                checks,
                observer=observer,
                new_id=chance.new_id,
                wake=self._wake,
                announce=self._announce,
            ),
            checking=checks,
            readiness=Readiness(
                store,
                self._backends.broker,
                self.supervisor,
                queue_depth=lambda: gatherer.depth,
                heartbeat=self._heartbeat,
            ),
        )

    def _supervise(self, roles: tuple[str, ...], timing: Timing) -> None:
        backends = self._backends
        self._redeliverer = Redeliverer(
            backends.store,
            self.gatherer,
            self._directory,
            publish_again=self._dispatcher.publish_again,
            broker=backends.broker,
            clock=backends.clock,
            observer=backends.observer,
            announce=self._announce,
            finished=self._wake_redelivery,
        )
        self._redeliver_loop = self._loop("redeliver", self._redeliverer.run_once, redelivery.SWEEP_SECONDS)
        forget = Retention(backends.store, clock=backends.clock, observer=backends.observer, clock_jumped=timing.jumped)
        loops = {
            "dispatch": self._dispatch_loop,
            "check": self._loop("check", self.services.checking.run_once, checking.SWEEP_SECONDS),
            "redeliver": self._redeliver_loop,
            "retention": self._loop("retention", forget.run_once, retention.INTERVAL_SECONDS),
        }
        for role, loop in loops.items():
            if role in roles:
                self.supervisor.add(loop)
        self.supervisor.add(self._loop("clock", self._timekeeper.run_once, timekeeping.INTERVAL_SECONDS))
        if backends.store.capabilities.shared:
            self.supervisor.add(self._loop("catalog", self._follow_catalog, freshness.INTERVAL_SECONDS))
        if self._heartbeat is not None:
            # It stops nothing, so that however long it fails the node is no less ready.
            beats = self._loop("node", self._heartbeat.run_once, heartbeat.INTERVAL_SECONDS, stale_after_seconds=inf)
            self.supervisor.add(beats)

    def _loop(
        self, name: str, run_once: RunOnce, interval_seconds: float, stale_after_seconds: float = STALE_AFTER_SECONDS
    ) -> Loop:
        return Loop(
            name,
            run_once,
            clock=self._backends.clock,
            observer=self._backends.observer,
            interval_seconds=interval_seconds,
            chance=self._chance.draw,
            stale_after_seconds=stale_after_seconds,
        )

    def _wake(self, topic: int, at: int) -> None:
        self._dispatcher.wake(topic, at)
        self._wake_dispatch()

    def _wake_dispatch(self) -> None:
        self._dispatch_loop.wake()

    def _wake_redelivery(self) -> None:
        self._redeliver_loop.wake()

    def _announce(self, subscription: int) -> None:
        if self._backends.pulls is not None:
            self._backends.pulls.announce((subscription,))

    async def _follow_catalog(self) -> float | None:
        await self._directory.freshness.refresh()
        return None

    def _catalog_changed(self, before: Catalog, now: Catalog) -> None:
        """Another node changed something: what a registration here sets in motion, it sets in motion here, too."""
        for topic in now.topics.values():
            same = topic == before.topics.get(topic.id) and now.route(topic.id) == before.route(topic.id)
            if topic.removed_at is None and not same:
                self._topic_changed(topic.id)
        for app in now.apps.values():
            known = before.apps.get(app.id)
            if known is None or known.check_url != app.check_url:
                self.services.checking.address_changed(app.id)

    def _topic_changed(self, topic: int) -> None:
        self._dispatcher.declare(topic)
        self._wake(topic, self._backends.clock.now())
        if self._backends.pulls is not None:
            for subscription in self._directory.catalog.route(topic):
                self._backends.pulls.announce_all(subscription.id)
