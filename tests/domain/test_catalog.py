"""The catalogue: every edit a pure function from one snapshot to the next."""

import pytest

from aftercommit.domain import catalog as catalogue
from aftercommit.domain.catalog import Catalog, Secret, SubscriptionSpec, TopicSpec, put_topic
from aftercommit.domain.errors import Conflict, Invalid, NotFound
from tests.builders import BILLING, ORDERS, SHIPPING, T0, TOPIC, make_world, world_of


def put(catalog: Catalog, name: str, *subscriptions: str, policy=None, app: int = 1, force: bool = False):
    specs = tuple(SubscriptionSpec(name=each, app=app) for each in subscriptions)
    return put_topic(catalog, TopicSpec(name=name, app=app, subscriptions=specs, policy=policy or {}), T0, force=force)


def names(catalog: Catalog, topic: str = TOPIC) -> list[str]:
    found = catalog.topic(topic)
    assert found is not None
    return [each.name for each in catalog.route(found.id)]


def test_a_new_topic_delivers_to_its_implicit_default():
    world = make_world()

    assert names(world.catalog) == ["default"]
    assert world.catalog.explicit(world.topic) == ()
    assert world.catalog.subscriptions[world.default].app == world.orders


def test_registered_subscriptions_replace_the_implicit_default():
    world = make_world({"billing": BILLING, "shipping": SHIPPING})

    assert names(world.catalog) == ["billing", "shipping"]


def test_the_default_may_be_registered_and_keeps_its_id():
    before = make_world()
    after = make_world({"default": BILLING}, catalog=before.catalog)

    assert after.default == before.default
    assert [each.name for each in after.catalog.explicit(after.topic)] == ["default"]
    assert after.catalog.subscriptions[after.default].app == after.billing


def test_a_dropped_default_belongs_to_the_topics_owner_again():
    registered = make_world({"default": BILLING})
    dropped = make_world(catalog=registered.catalog)

    default = dropped.catalog.subscriptions[dropped.default]
    assert (default.implicit, default.app, default.removed_at) == (True, dropped.orders, None)


def test_a_dropped_subscription_is_named_in_the_edit_and_keeps_its_name():
    world = make_world({"billing": BILLING, "shipping": SHIPPING})

    edit = put(world.catalog, TOPIC, "shipping")

    assert edit.dropped_subscriptions == (world.subscriptions["billing"],)
    assert names(edit.catalog) == ["shipping"]
    assert edit.catalog.subscriptions[world.subscriptions["billing"]].name == "billing"
    assert edit.catalog.subscription(world.topic, "billing") is None


def test_a_subscription_that_comes_back_has_its_old_id():
    world = make_world({"billing": BILLING})
    dropped = put(world.catalog, TOPIC).catalog

    back = put(dropped, TOPIC, "billing").catalog

    assert world_of(back).subscriptions == world.subscriptions
    assert names(back) == ["billing"]


def test_putting_the_same_topic_again_drops_and_creates_nothing():
    world = make_world({"billing": BILLING})

    edit = put(world.catalog, TOPIC, "billing", app=world.billing)

    assert (edit.created, edit.dropped_subscriptions) == (False, ())
    assert edit.catalog.next_id == world.catalog.next_id


def test_ids_are_never_used_again():
    world = make_world({"billing": BILLING})
    removed = catalogue.remove_topic(world.catalog, TOPIC, T0).catalog

    again = put(removed, TOPIC, "billing").catalog

    assert not {world.topic, *world.subscriptions.values()} & {
        world_of(again).topic,
        *world_of(again).subscriptions.values(),
    }


def test_a_removed_topic_is_not_found_but_keeps_its_name():
    world = make_world({"billing": BILLING})

    edit = catalogue.remove_topic(world.catalog, TOPIC, T0)

    assert edit.removed_topics == (world.topic,)
    assert edit.catalog.topic(TOPIC) is None
    assert edit.catalog.topics[world.topic].name == TOPIC
    assert edit.catalog.route(world.topic) == ()
    assert edit.catalog.policy(world.topic).checks_max == 15


def test_two_pairs_may_not_have_the_same_name_at_a_broker():
    world = make_world()
    first = put(world.catalog, "a.b", "c").catalog

    with pytest.raises(Conflict) as refused:
        put(first, "a_b", "c")

    assert refused.value.code == "name_collision"


def test_a_dropped_subscription_frees_its_name_at_the_broker():
    world = make_world()
    first = put(world.catalog, "a.b", "c").catalog
    dropped = put(first, "a.b").catalog

    assert put(dropped, "a_b", "c").created


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "ä", "a" * 129, "a\n"])
def test_a_topic_name_is_checked(name):
    with pytest.raises(Invalid) as refused:
        put(Catalog.of(), name)

    assert (refused.value.code, refused.value.pointer) == ("invalid_topic", "/topic")


@pytest.mark.parametrize("name", ["", "_a", "-a", "a.b", "a b", "a" * 65, "a\n"])
def test_a_subscription_name_is_checked(name):
    with pytest.raises(Invalid) as refused:
        put(make_world().catalog, TOPIC, name)

    assert (refused.value.code, refused.value.pointer) == ("invalid_subscription", "/subscriptions")


def test_a_subscription_may_not_be_named_twice():
    with pytest.raises(Invalid):
        put(make_world().catalog, TOPIC, "billing", "billing")


def test_the_longest_names_are_allowed():
    assert put(Catalog.of(), "a" * 128, "b" * 64).created


def test_a_subscriptions_policy_overrides_the_topics():
    world = make_world()
    spec = TopicSpec(
        name=TOPIC,
        app=world.orders,
        policy={"deliveries_max": 5, "checks_max": 4},
        subscriptions=(SubscriptionSpec(name="billing", app=world.billing, policy={"deliveries_max": 2}),),
    )

    catalog = put_topic(world.catalog, spec, T0).catalog

    billing = world_of(catalog).subscriptions["billing"]
    assert (catalog.policy(world.topic).deliveries_max, catalog.policy(world.topic).checks_max) == (5, 4)
    assert catalog.policy(world.topic, billing).deliveries_max == 2
    assert catalog.policy(world.topic, billing).checks_max == 4


def test_a_wrong_policy_changes_nothing_and_says_which_field():
    world = make_world()

    with pytest.raises(Invalid) as refused:
        put(world.catalog, TOPIC, policy={"checks_max": 0})

    assert (refused.value.code, refused.value.pointer) == ("invalid_policy", "/policy/checks_max")


def test_pausing_and_resuming_keep_everything_else():
    world = make_world({"billing": BILLING})

    paused = catalogue.pause_topic(world.catalog, TOPIC, T0).catalog
    resumed = catalogue.pause_topic(paused, TOPIC, None).catalog

    assert paused.topics[world.topic].paused_at == T0
    assert resumed.topics == world.catalog.topics
    assert names(paused) == ["billing"]


def test_replacing_a_topic_keeps_it_paused():
    world = make_world()
    paused = catalogue.pause_topic(world.catalog, TOPIC, T0).catalog

    assert put(paused, TOPIC, "billing").catalog.topics[world.topic].paused_at == T0


def test_an_application_is_created_once_and_then_changed():
    first = catalogue.put_app(Catalog.of(), ORDERS, T0, check_url=None, check_signed=True)
    second = catalogue.put_app(first.catalog, ORDERS, T0 + 1, check_url="http://a/check", check_signed=False)

    app = second.catalog.app(ORDERS)
    assert (first.created, second.created) == (True, False)
    assert app is not None
    assert (app.id, app.created_at, app.check_url, app.check_signed) == (1, T0, "http://a/check", False)


def test_the_third_secret_retires_the_first_and_none_is_shown_in_a_log():
    catalog = make_world().catalog
    for number in (1, 2, 3):
        secret = Secret(id=f"s{number}", value=f"whsec_{number}", created_at=T0)
        catalog = catalogue.add_secret(catalog, ORDERS, secret).catalog

    app = catalog.app(ORDERS)
    assert app is not None
    assert [each.id for each in app.secrets] == ["s2", "s3"]
    assert "whsec" not in repr(app)


def test_what_is_not_there_is_not_found():
    catalog = make_world().catalog

    with pytest.raises(NotFound):
        catalogue.require_app(catalog, "nobody")
    with pytest.raises(NotFound):
        catalogue.remove_topic(catalog, "nothing", T0)
    with pytest.raises(NotFound):
        catalogue.pause_topic(catalog, "nothing", T0)
