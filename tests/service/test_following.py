"""An edit on one node moves the others: a resume, a new subscription, a new check address."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aftercommit.domain.catalog import SubscriptionSpec, TopicSpec, pause_topic, put_app, put_topic, require_app
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.testing.clock import ManualClock
from tests.service.shared import SharedStore
from tests.service.world import BILLING, TOPIC, ScriptedBroker, World, world


@pytest.fixture
def store() -> SharedStore:
    """The database."""
    return SharedStore()


@pytest.fixture
async def built_in(store: SharedStore) -> AsyncIterator[World]:
    """A node with the built-in broker."""
    async with world(store=store) as made:
        await made.register()
        await made.clock.run(2.0)
        yield made


async def pause_elsewhere(store: SharedStore, clock: ManualClock, paused_at: int | None) -> None:
    """On another node, the topic is paused or resumed."""
    await store.edit_elsewhere(lambda catalog: pause_topic(catalog, TOPIC, paused_at), clock.now())


async def test_a_resume_elsewhere_is_followed_within_a_second(built_in: World, store: SharedStore) -> None:
    await pause_elsewhere(store, built_in.clock, built_in.clock.now())
    await built_in.clock.run(1.1)
    message_id = await built_in.confirmed()
    assert await built_in.pull() == []
    waiting = asyncio.create_task(built_in.services.pulling.pull(BILLING, TOPIC, "billing", 1, 30))
    await built_in.clock.run(3.0)
    await pause_elsewhere(store, built_in.clock, None)
    await built_in.clock.run(1.1)
    assert [each.id for each in waiting.result()] == [message_id]


async def test_a_resume_elsewhere_sends_to_an_outside_broker_before_the_sweep(store: SharedStore) -> None:
    broker = ScriptedBroker()
    async with world(broker, store) as w:
        await w.register()
        await w.clock.run(5.1)
        await pause_elsewhere(store, w.clock, w.clock.now())
        await w.clock.run(1.1)
        message_id = await w.confirmed()
        await w.clock.run(1.0)
        assert broker.published == []
        await pause_elsewhere(store, w.clock, None)
        await w.clock.run(1.1)
        assert [each.id for each in broker.published] == [message_id]


async def test_the_broker_is_told_of_a_subscription_made_elsewhere_and_once(store: SharedStore) -> None:
    broker = ScriptedBroker()
    async with world(broker, store) as w:
        await w.register()
        await w.clock.run(2.0)
        broker.declared.clear()
        specs = tuple(SubscriptionSpec(name=each, app=store.catalog.apps[1].id) for each in ("billing", "stock"))
        spec = TopicSpec(name=TOPIC, app=store.catalog.apps[1].id, subscriptions=specs)
        await store.edit_elsewhere(lambda catalog: put_topic(catalog, spec, w.clock.now()), w.clock.now())
        await w.clock.run(10.0)
        assert [each.subscriptions for each in broker.declared] == [("billing", "stock")]


async def test_a_new_check_address_elsewhere_is_tried_at_once(built_in: World, store: SharedStore) -> None:
    built_in.initiator.reachable = False
    await built_in.prepare(check_after_seconds=1)
    await built_in.clock.run(60.0)
    built_in.initiator.reachable = True
    built_in.initiator.calls.clear()
    now = built_in.clock.now()
    await store.edit_elsewhere(
        lambda catalog: put_app(
            catalog, require_app(catalog, "orders").name, now, check_url="http://127.0.0.1:2/", check_signed=False
        ),
        now,
    )
    assert built_in.initiator.calls == []
    await built_in.clock.run(1.1)
    assert len(built_in.initiator.calls) == 1


async def test_nothing_moves_where_nothing_was_changed(built_in: World, store: SharedStore) -> None:
    store.claims.clear()
    await built_in.clock.run(60.0)
    assert store.refreshes >= 60
    assert store.claims == []


async def test_a_database_that_cannot_be_read_is_asked_again(built_in: World, store: SharedStore) -> None:
    store.away = StoreUnavailable("The database is gone.")
    await built_in.clock.run(3.0)
    store.away = None
    store.refreshes = 0
    await built_in.clock.run(5.0)
    assert store.refreshes >= 1
    assert (await built_in.services.readiness.report())[0]
