"""The store suite, part six: the catalogue, and what messages do to its edits."""

import asyncio
from collections.abc import Sequence

import pytest

from aftercommit.domain.catalog import (
    Catalog,
    CatalogEdit,
    Secret,
    SubscriptionSpec,
    TopicSpec,
    add_secret,
    pause_topic,
    put_app,
    put_topic,
    remove_topic,
)
from aftercommit.domain.commands import ClaimPulls
from aftercommit.domain.errors import Conflict, Invalid
from aftercommit.domain.lifecycle import TERMINAL
from aftercommit.ports.store import Search, Store
from tests.builders import BILLING, ORDERS, SHIPPING, T0, TOPIC, make_world
from tests.conformance.store_case import TWO, Play, StoreCase, numbers, statuses
from tests.ways import ways

WAYS = {name: status for name, (status, _steps) in ways(make_world()).items()}


async def put(play: Play, *names: str, force: bool = False, topic: str = TOPIC) -> CatalogEdit:
    """Make the topic's subscriptions these, all of them billing's."""

    def edit(catalog: Catalog) -> CatalogEdit:
        specs = tuple(SubscriptionSpec(name=each, app=play.world.billing) for each in names)
        spec = TopicSpec(name=topic, app=play.world.orders, subscriptions=specs)
        return put_topic(catalog, spec, play.now, force=force)

    return await play.store.edit_catalog(edit, play.now)


async def remove(play: Play) -> CatalogEdit:
    return await play.store.edit_catalog(lambda catalog: remove_topic(catalog, TOPIC, play.now), play.now)


def contents(catalog: Catalog) -> tuple[Sequence[object], ...]:
    return (
        sorted(catalog.apps.items()),
        sorted(catalog.topics.items()),
        sorted(catalog.subscriptions.items()),
    )


class CatalogSuite(StoreCase):
    """Edits."""

    async def test_an_empty_store_has_an_empty_catalogue(self, store: Store) -> None:
        assert contents(store.catalog) == ([], [], [])

    async def test_an_edit_is_the_present_catalogue_when_it_returns(self, store: Store) -> None:
        edit = await store.edit_catalog(
            lambda catalog: put_app(catalog, ORDERS, T0, check_url="http://a/check", check_signed=True), T0
        )

        assert edit.created
        assert contents(store.catalog) == contents(edit.catalog)
        app = store.catalog.app(ORDERS)
        assert app is not None
        assert (app.check_url, app.check_signed, app.created_at) == ("http://a/check", True, T0)

    async def test_every_field_is_kept(self, play: Play) -> None:
        secret = Secret(id="s1", value="whsec_abc", created_at=T0)
        spec = TopicSpec(
            name="invoices",
            app=play.world.orders,
            policy={"redelivery_seconds": (0.5, 3), "checks_max": 4},
            destination={"exchange": "legacy", "durable": True},
            subscriptions=(
                SubscriptionSpec(
                    name="ledger",
                    app=play.world.billing,
                    push_url="https://ledger/in",
                    report="explicit",
                    policy={"deliveries_max": 3},
                ),
            ),
        )
        await play.store.edit_catalog(lambda catalog: add_secret(catalog, ORDERS, secret), T0)
        await play.store.edit_catalog(lambda catalog: put_topic(catalog, spec, T0), T0)
        edit = await play.store.edit_catalog(lambda catalog: pause_topic(catalog, "invoices", T0 + 5), T0)

        kept = play.store.catalog
        assert contents(kept) == contents(edit.catalog)
        topic = kept.topic("invoices")
        assert topic is not None
        assert (topic.paused_at, topic.destination) == (T0 + 5, {"exchange": "legacy", "durable": True})
        assert kept.policy(topic.id).redelivery_seconds == (0.5, 3)
        [ledger] = kept.route(topic.id)
        assert (ledger.push_url, ledger.report, kept.policy(topic.id, ledger.id).deliveries_max) == (
            "https://ledger/in",
            "explicit",
            3,
        )

    async def test_what_an_edit_raises_is_raised_and_nothing_changes(self, play: Play) -> None:
        before = play.store.catalog

        with pytest.raises(Invalid):
            await put(play, "not.a.name")

        assert contents(play.store.catalog) == contents(before)

    async def test_edits_at_the_same_time_all_take_place(self, store: Store) -> None:
        async def register(name: str) -> None:
            await store.edit_catalog(lambda catalog: put_app(catalog, name, T0, check_url=None, check_signed=True), T0)

        names = [f"app{number}" for number in range(10)]
        await asyncio.gather(*(register(name) for name in names))

        assert sorted(each.name for each in store.catalog.apps.values()) == names

    async def test_a_name_taken_at_the_broker_is_refused(self, play: Play) -> None:
        await put(play, "c", topic="a.b")

        with pytest.raises(Conflict) as refused:
            await put(play, "c", topic="a_b")

        assert refused.value.code == "name_collision"
        assert play.store.catalog.topic("a_b") is None

    @pytest.mark.parametrize("word", ["pending_send", "sent", "undelivered"])
    async def test_a_subscription_with_open_deliveries_is_not_dropped(self, two: Play, word: str) -> None:
        # given
        say = two.say()
        await two.do(say.prepare(confirmed=True))
        if word != "pending_send":
            await two.do(say.accepted())
        if word == "undelivered":
            await two.do(say.pull("shipping"), say.pull("shipping"), say.expire("shipping"))
        before = two.store.catalog

        # when
        with pytest.raises(Conflict) as refused:
            await put(two, "billing")

        # then
        assert refused.value.code == "subscription_in_use"
        assert contents(two.store.catalog) == contents(before)

    async def test_a_subscription_whose_deliveries_are_closed_is_dropped(self, two: Play) -> None:
        await two.do(two.say(1).prepare(confirmed=True), two.say(1).accepted(), two.say(1).complete("shipping"))
        await two.do(two.say(2).prepare(confirmed=True), two.say(2).fail("shipping"))
        await two.do(two.say(3).prepare())

        edit = await put(two, "billing")

        assert edit.dropped_subscriptions == (two.world.subscriptions["shipping"],)
        await two.do(two.say(3).confirm())
        assert [each.subscription for each in (await two.state(3)).deliveries] == [two.world.subscriptions["billing"]]

    async def test_by_force_its_open_deliveries_are_discarded_and_no_others(self, two: Play) -> None:
        # given
        await two.do(two.say(1).prepare(confirmed=True), two.say(1).accepted())
        await two.do(two.say(2).prepare(confirmed=True), two.say(2).complete("billing"))
        await two.do(two.say(3).prepare(confirmed=True), two.say(3).accepted(), two.say(3).complete("shipping"))
        untouched = await two.state(3)

        # when
        await put(two, "billing", force=True)

        # then
        assert (statuses(await two.state(1)), (await two.state(1)).status) == (["sent", "failed"], "sent")
        assert (statuses(await two.state(2)), (await two.state(2)).status) == (["completed", "failed"], "failed")
        assert await two.state(3) == untouched
        assert (await two.state(1)).version == 2
        assert [(each.event, each.subscription) for each in await two.events(1)] == [
            ("discarded", two.world.subscriptions["shipping"])
        ]
        shipping = ClaimPulls(subscription=two.world.subscriptions["shipping"], limit=9)
        assert numbers(await two.claim(shipping)) == []

    async def test_a_dropped_subscription_keeps_its_name_for_old_messages(self, two: Play) -> None:
        await two.do(two.say().prepare(confirmed=True), two.say().complete("billing"), two.say().complete("shipping"))

        await put(two, "billing")

        shipping = two.store.catalog.subscriptions[two.world.subscriptions["shipping"]]
        assert (shipping.name, shipping.removed_at) == ("shipping", two.now)
        again = await two.one(two.say().complete("shipping"))
        assert (again.refusal, again.status) == (None, "completed")

    @pytest.mark.parametrize("way", [name for name in WAYS if not name.startswith("cancelled before")])
    async def test_a_topic_is_removed_only_when_its_messages_are_settled(self, play: Play, way: str) -> None:
        message = await play.come(way)

        if message.status in TERMINAL:
            await remove(play)
            assert play.store.catalog.topic(TOPIC) is None
        else:
            with pytest.raises(Conflict) as refused:
                await remove(play)
            assert refused.value.code == "topic_in_use"
            assert play.store.catalog.topic(TOPIC) is not None

    async def test_another_topics_messages_are_not_in_the_way(self, play: Play) -> None:
        await put(play, topic="invoices")
        await play.come("prepared")

        await play.store.edit_catalog(lambda catalog: remove_topic(catalog, "invoices", play.now), play.now)

        assert play.store.catalog.topic("invoices") is None

    async def test_a_removed_topic_keeps_its_name_and_its_messages(self, two: Play) -> None:
        await two.do(two.say().prepare(confirmed=True), two.say().complete("billing"), two.say().fail("shipping"))

        await remove(two)

        assert two.store.catalog.topics[two.world.topic].name == TOPIC
        page = await two.store.search(Search(limit=9, topics=(two.world.topic,)))
        assert [each.message.status for each in page.messages] == ["failed"]
        assert (await two.one(two.say().redeliver())).refusal == "invalid_transition"

    async def test_a_topic_of_the_same_name_is_another_topic(self, two: Play) -> None:
        await remove(two)
        old = two.world

        await two.change_world(TWO)

        assert two.world.topic != old.topic
        assert not set(two.world.subscriptions.values()) & set(old.subscriptions.values())

    async def test_a_policy_that_changes_holds_for_messages_already_there(self, play: Play) -> None:
        await play.do(play.say().prepare())
        await play.change_world(checks_max=1)

        assert (await play.one(play.say().checked("unknown"))).status == "undecided"

    async def test_a_subscription_given_to_another_application_is_that_ones(self, two: Play) -> None:
        await two.do(two.say().prepare(confirmed=True), two.say().accepted())

        await two.change_world({"billing": SHIPPING, "shipping": BILLING})

        before = await two.one(two.say().complete("shipping", app=two.world.shipping))
        after = await two.one(two.say().complete("shipping", app=two.world.billing))
        assert (before.refusal, after.refusal) == ("unknown_message", None)
