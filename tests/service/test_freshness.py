"""What another node registered a moment ago is found before anything is called unknown, at a bounded cost."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from aftercommit.domain.catalog import SubscriptionSpec, TopicSpec, put_app, put_topic, require_app
from aftercommit.domain.commands import ClaimUnasked
from aftercommit.domain.errors import Invalid, NotFound, StoreUnavailable
from aftercommit.domain.message import Outcome
from aftercommit.service import freshness
from aftercommit.service.caller import Caller
from aftercommit.service.directory import Directory
from aftercommit.testing.clock import ManualClock
from aftercommit.wire import PrepareRequest
from tests.service.shared import SharedStore
from tests.service.world import TOPIC, ScriptedBroker, World, world

SHOP = Caller("shop")
STOCK = Caller("stock")
NEW = "shop.opened"


class Elsewhere:
    """A world whose database another node uses as well."""

    def __init__(self, made: World, store: SharedStore) -> None:
        self.world = made
        self.store = store

    async def registers(self, topic: str = NEW) -> None:
        """There, `shop` makes a topic that `stock` listens to."""
        now = self.world.clock.now()
        for name in ("shop", "stock"):
            await self.store.edit_elsewhere(
                lambda catalog, name=name: put_app(catalog, name, now, check_url=None, check_signed=False),  # type: ignore[misc]
                now,
            )
        await self.store.edit_elsewhere(
            lambda catalog: put_topic(
                catalog,
                TopicSpec(
                    name=topic,
                    app=require_app(catalog, "shop").id,
                    subscriptions=(SubscriptionSpec(name="stock", app=require_app(catalog, "stock").id),),
                ),
                now,
            ),
            now,
        )

    async def stores(self, **fields: object) -> str:
        """There, `shop` prepares a message to the topic; its id. Nothing of it is seen here."""
        seen = self.store.catalog
        outcome = await self.world.in_time(prepare(self.world, SHOP, NEW, **fields))
        # What a new application sets in motion is over.
        await self.world.clock.run(1.1)
        self.store.forget(seen)
        return outcome.id


async def prepare(made: World, caller: Caller, topic: str, **fields: object) -> Outcome:
    """What a prepare answers."""
    body = msgspec.json.encode({"topic": topic, "payload": 1, **fields})
    return await made.services.intake.prepare(caller, msgspec.json.decode(body, type=PrepareRequest), None)


@pytest.fixture
async def elsewhere(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Elsewhere]:
    """Such a world. Its node does not follow the other's edits by itself: only what is missed is looked for."""
    monkeypatch.setattr(freshness, "INTERVAL_SECONDS", 1e6)
    store = SharedStore()
    async with world(store=store) as made:
        await made.register()
        # The spacing of refreshes is over.
        await made.clock.run(1.0)
        yield Elsewhere(made, store)


async def test_a_subscription_made_elsewhere_may_be_pulled_from_at_once(elsewhere: Elsewhere) -> None:
    await elsewhere.registers()
    assert await elsewhere.world.services.pulling.pull(STOCK, NEW, "stock", 1, 0) == []
    with pytest.raises(NotFound):
        await elsewhere.world.in_time(elsewhere.world.services.pulling.pull(STOCK, "unheard.of", "stock", 1, 0))


async def test_a_topic_made_elsewhere_is_not_made_again(elsewhere: Elsewhere) -> None:
    await elsewhere.registers()
    assert (await prepare(elsewhere.world, SHOP, NEW)).created
    shown = await elsewhere.world.in_time(elsewhere.world.services.registry.list_topics())
    assert [each.topic for each in shown.topics] == [TOPIC, NEW]


async def test_a_node_that_makes_no_topics_looks_before_it_says_that_there_is_none() -> None:
    store, clock = SharedStore(), ManualClock()
    await store.open(clock.now())
    directory = Directory(store, clock=clock, topics_auto_create=False, checks_signed=True)
    app = await directory.ensure_app("orders")
    await store.edit_elsewhere(lambda catalog: put_topic(catalog, TopicSpec(name=NEW, app=app.id), 0), 0)
    finding = asyncio.create_task(directory.ensure_topic(NEW, app))
    await clock.run(0.05)
    assert finding.result().name == NEW
    missing = asyncio.create_task(directory.ensure_topic("unheard.of", app))
    await clock.run(0.05)
    assert isinstance(missing.exception(), Invalid)


@pytest.mark.parametrize("verb", ["confirm", "cancel", "complete", "fail", "get", "status", "search", "stats"])
async def test_an_application_made_elsewhere_is_known_whatever_it_says_first(elsewhere: Elsewhere, verb: str) -> None:
    await elsewhere.registers()
    message_id = await elsewhere.stores(confirmed=verb in ("complete", "fail"))
    assert elsewhere.store.catalog.app("shop") is None
    services, in_time = elsewhere.world.services, elsewhere.world.in_time
    match verb:
        case "confirm":
            assert (await in_time(services.intake.confirm(SHOP, message_id))).changed
        case "cancel":
            assert (await in_time(services.intake.cancel(SHOP, message_id, None))).changed
        case "complete":
            assert (await in_time(services.reports.complete(STOCK, message_id, "stock"))).changed
        case "fail":
            assert (await in_time(services.reports.fail(STOCK, message_id, "no", "stock"))).changed
        case "get":
            assert (await in_time(services.inspection.get(SHOP, message_id))).topic == NEW
        case "status":
            assert (await in_time(services.intake.statuses(SHOP, [message_id])))[0].refusal is None
        case "search":
            found = await in_time(services.inspection.search(SHOP, topic=NEW))
            assert [each.id for each in found.messages] == [message_id]
        case _:
            assert [each.topic for each in (await in_time(services.inspection.stats(SHOP))).messages] == [NEW]


async def test_what_shows_the_catalogue_shows_what_was_registered_elsewhere(elsewhere: Elsewhere) -> None:
    await elsewhere.registers()
    registry = elsewhere.world.services.registry
    assert (await registry.get_topic(NEW)).subscriptions[0].name == "stock"
    await elsewhere.registers("shop.closed")
    listed = await elsewhere.world.in_time(registry.list_topics())
    assert "shop.closed" in [each.topic for each in listed.topics]


@pytest.fixture
async def outside(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Elsewhere, ScriptedBroker]]:
    """The same with an outside broker, and what was registered elsewhere."""
    monkeypatch.setattr(freshness, "INTERVAL_SECONDS", 1e6)
    store, broker = SharedStore(), ScriptedBroker()
    async with world(broker, store) as made:
        await made.clock.run(1.0)
        there = Elsewhere(made, store)
        await there.registers()
        yield there, broker
        assert "loop_failed" not in made.observer.alerted()


async def test_sending_knows_topics_made_elsewhere(outside: tuple[Elsewhere, ScriptedBroker]) -> None:
    there, broker = outside
    sent = await there.stores(confirmed=True, delay_seconds=3)
    await there.world.clock.run(10.0)
    assert [each.id for each in broker.published] == [sent]


async def test_redelivery_knows_subscriptions_made_elsewhere(outside: tuple[Elsewhere, ScriptedBroker]) -> None:
    there, broker = outside
    seen = there.store.catalog
    sent = await there.stores(confirmed=True, delay_seconds=3)
    await there.world.clock.run(10.0)
    there.store.forget(seen)
    await there.world.clock.run(600.0)
    assert [each.id for each in broker.published[:2]] == [sent, sent]


async def test_checking_knows_applications_made_elsewhere(outside: tuple[Elsewhere, ScriptedBroker]) -> None:
    there, _ = outside
    await there.stores(check_after_seconds=3)
    await there.world.clock.run(10.0)
    shop = next(each.id for each in there.store.catalog.apps.values() if each.name == "shop")
    assert ClaimUnasked(app=shop, limit=1000) in [each for _, each in there.store.claims]


async def test_a_flood_of_misses_is_no_flood_of_questions(elsewhere: Elsewhere) -> None:
    elsewhere.store.refreshes = 0
    pull = elsewhere.world.services.pulling.pull

    async def miss(number: int) -> None:
        with pytest.raises(NotFound):
            await pull(STOCK, f"unheard.of.{number}", "stock", 1, 0)

    misses = [asyncio.create_task(miss(number)) for number in range(200)]
    await elsewhere.world.clock.settle()
    assert elsewhere.store.refreshes <= 2
    for number in range(200):
        misses.append(asyncio.create_task(miss(number)))
        await elsewhere.world.clock.run(0.001)
    await elsewhere.world.clock.run(0.1)
    await asyncio.gather(*misses)
    assert elsewhere.store.refreshes <= 1 + 0.3 / 0.05


async def test_a_batch_of_unknown_names_asks_once(elsewhere: Elsewhere) -> None:
    elsewhere.store.refreshes = 0
    bodies = [msgspec.json.encode({"topic": f"new.{number}", "payload": 1}) for number in range(20)]
    requests = [msgspec.json.decode(each, type=PrepareRequest) for each in bodies]
    answers = await elsewhere.world.services.intake.prepare_many(Caller("newcomer"), requests, None)
    assert all(isinstance(each, Outcome) and each.created for each in answers)
    assert elsewhere.store.refreshes == 1


async def test_a_miss_waits_for_a_look_that_began_after_it(elsewhere: Elsewhere) -> None:
    """A refresh under way may have read the catalogue before the edit."""
    store = elsewhere.store
    directory = Directory(store, clock=elsewhere.world.clock, topics_auto_create=True, checks_signed=False)
    store.gate.clear()
    early = asyncio.create_task(directory.freshness.refresh())
    await elsewhere.world.clock.settle()
    late = asyncio.create_task(directory.freshness.refresh())
    await elsewhere.world.clock.settle()
    store.gate.set()
    await elsewhere.world.clock.settle()
    assert (early.done(), late.done()) == (True, False)
    await elsewhere.world.clock.run(0.05)
    assert late.done()


async def test_a_database_that_cannot_be_asked_is_said_to_be_away_not_the_topic_unknown(elsewhere: Elsewhere) -> None:
    elsewhere.store.away = StoreUnavailable("The database is gone.")
    with pytest.raises(StoreUnavailable):
        await elsewhere.world.services.pulling.pull(STOCK, NEW, "stock", 1, 0)
    elsewhere.store.away = None
    await elsewhere.registers()
    assert await elsewhere.world.in_time(elsewhere.world.services.pulling.pull(STOCK, NEW, "stock", 1, 0)) == []


async def test_who_goes_away_leaves_the_look_to_the_others(elsewhere: Elsewhere) -> None:
    await elsewhere.registers()
    elsewhere.store.gate.clear()
    pull = elsewhere.world.services.pulling.pull
    gone, stays = (asyncio.create_task(pull(STOCK, NEW, "stock", 1, 0)) for _ in range(2))
    await elsewhere.world.clock.settle()
    gone.cancel()
    elsewhere.store.gate.set()
    await elsewhere.world.clock.run(0.1)
    assert stays.result() == []
