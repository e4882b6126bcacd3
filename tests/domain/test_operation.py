"""The operator's side: resolve, redeliver, replay, discard."""

import pytest
from msgspec.structs import replace

from aftercommit.domain.catalog import remove_topic
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import Due, DueKind
from aftercommit.domain.step import Context
from tests.builders import BILLING, DAY, MINUTE, SHIPPING, TOPIC, make_world, message_id, world_of
from tests.domain.life import Life, life_by
from tests.ways import SMALL_BUDGETS

TWO = {"billing": BILLING, "shipping": SHIPPING}


def life_of_two(*, delay: int = 0) -> Life:
    life = Life(make_world(TWO, policy=SMALL_BUDGETS))
    life.do(life.say.prepare(confirmed=True, delay=delay))
    return life


def test_resolving_signs_the_message_and_tells_the_reason():
    life = life_by("checks used up")

    life.step(life.say.resolve(committed=True))

    assert (life.message.status, life.message.resolved_by) == ("pending_send", "olga")
    last = life.events[-1]
    assert (last.event, last.status, last.actor, last.detail) == ("resolved", "pending_send", "olga", "looked it up")


@pytest.mark.parametrize("committed", [True, False])
def test_a_refused_resolution_signs_nothing(committed):
    life = life_by("confirmed")

    step = life.step(life.say.resolve(committed=committed))

    assert step.outcome.message is not None
    assert (step.outcome.message.resolved_by, life.message.resolved_by) == (None, None)


@pytest.mark.parametrize("way", ["checks used up", "prepared"])
def test_a_recheck_is_due_now(way):
    life = life_by(way)

    life.step(life.say.recheck())

    assert life.message.due == Due(DueKind.CHECK, life.world.orders, life.now)


def test_an_undelivered_message_is_redelivered_with_fresh_budgets():
    life = life_by("pulls used up")

    life.step(life.say.redeliver())

    delivery = life.delivery()
    assert (life.message.status, delivery.attempts, delivery.refusals, delivery.error) == ("pending_send", 0, 0, None)
    assert life.message.due == Due(DueKind.SEND, life.world.topic, life.now)
    assert delivery.due is None


def test_one_undelivered_delivery_is_redelivered_alone():
    # given
    life = life_of_two()
    life.step(life.say.accepted())
    for name in ("billing", "shipping"):
        life.step(life.say.pull(name))
        life.step(life.say.pull(name))
        life.step(life.say.expire(name))
    assert life.message.status == "undelivered"

    # when
    life.step(life.say.redeliver("billing"))

    # then
    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("pending_send", "undelivered")
    assert life.delivery("billing").due == Due(DueKind.SEND, life.world.topic, life.now)
    assert life.message.due is None

    # when
    life.step(life.say.accepted())

    # then
    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("sent", "undelivered")


def test_a_delayed_message_is_made_due_now():
    life = life_by("delayed")

    life.step(life.say.redeliver())

    assert life.message.due == Due(DueKind.SEND, life.world.topic, life.now)


def test_redelivering_never_makes_anything_due_later():
    life = life_by("pullable")
    due = life.delivery().due
    life.now += MINUTE

    life.step(life.say.redeliver())

    assert life.delivery().due == due


def test_redelivering_twice_is_no_error():
    life = life_by("pulled")

    first = life.step(life.say.redeliver())
    second = life.step(life.say.redeliver())

    assert (first.outcome.refusal, first.outcome.status) == (None, Status.SENT)
    assert (second.outcome.refusal, second.outcome.status) == (None, Status.SENT)


def test_a_delivery_that_was_not_chosen_keeps_its_time():
    # given a delayed message, one delivery of it reported early
    life = life_of_two(delay=DAY)
    life.step(life.say.complete("billing"))
    due = life.message.due

    # when
    step = life.step(life.say.redeliver("billing"))

    # then the completed one is replayed, and the other still waits
    assert step.replay is not None
    assert [each.subscription for each in step.replay.deliveries] == [life.world.subscriptions["billing"]]
    assert life.message.due == due


def test_a_failed_delivery_of_an_undelivered_message_is_replayed_when_it_is_named():
    life = life_of_two()
    life.step(life.say.fail("billing"))
    life.step(life.say.refused())
    assert life.message.status == "undelivered"

    step = life.step(life.say.redeliver("billing"))

    assert step.replay is not None
    assert [each.subscription for each in step.replay.deliveries] == [life.world.subscriptions["billing"]]
    assert step.message is None


def test_a_failed_message_is_replayed_for_its_failed_subscriptions_only():
    life = life_of_two()
    life.step(life.say.fail("billing"))
    life.step(life.say.complete("shipping"))

    step = life.step(life.say.redeliver())

    assert step.replay is not None
    assert [each.subscription for each in step.replay.deliveries] == [life.world.subscriptions["billing"]]
    assert (step.replay.id, step.replay.replay_of) == (message_id(900_001), life.say.id)
    assert step.replay.due == Due(DueKind.SEND, life.world.topic, life.now)
    assert (step.outcome.id, step.outcome.created, step.outcome.changed) == (message_id(900_001), True, True)


def test_a_completed_message_is_replayed_only_for_named_subscriptions():
    life = life_by("completed")

    assert life.step(life.say.redeliver()).outcome.refusal == Refusal.SUBSCRIPTION_REQUIRED
    assert life.step(life.say.redeliver("default")).replay is not None


@pytest.mark.parametrize("way", ["completed", "failed", "pulls used up", "pulled"])
def test_redelivering_to_nobody_is_refused(way):
    life = life_by(way)

    step = life.step(replace(life.say.redeliver(), subscriptions=()))

    assert (step.outcome.refusal, step.message, step.replay) == (Refusal.INVALID_TRANSITION, None, None)


def test_a_message_of_a_removed_topic_is_not_replayed():
    life = life_by("failed")
    removed = remove_topic(life.world.catalog, TOPIC, life.now).catalog
    context = Context(now=life.now, catalog=removed, chance=lambda: 0.0)

    from aftercommit.domain.advance import advance

    step = advance(life.say.redeliver(), life.message, context)

    assert (step.outcome.refusal, step.replay) == (Refusal.INVALID_TRANSITION, None)


def test_a_dropped_subscription_is_not_replayed():
    life = life_of_two()
    life.step(life.say.fail("billing"))
    life.step(life.say.complete("shipping"))
    life.world = world_of(make_world({"shipping": SHIPPING}, catalog=life.world.catalog).catalog)

    step = life.step(life.say.redeliver())

    assert (step.outcome.refusal, step.replay) == (Refusal.INVALID_TRANSITION, None)


def test_an_unknown_subscription_is_named():
    life = life_by("pulled")

    step = life.step(life.say.redeliver("nobody"))

    assert step.outcome.refusal == Refusal.UNKNOWN_SUBSCRIPTION
    assert "nobody" in step.outcome.detail


def test_discarding_fails_what_is_open_and_keeps_what_is_done():
    life = life_of_two()
    life.step(life.say.complete("billing"))

    life.step(life.say.discard())

    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("completed", "failed")
    assert (life.message.status, life.message.error, life.message.settled_at) == ("failed", "given up", life.now)


def test_discarding_one_subscription_keeps_the_others_open():
    life = life_of_two()

    life.step(life.say.discard(subscription=life.world.subscriptions["billing"]))

    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("failed", "pending_send")
    assert (life.message.status, life.message.settled_at) == ("pending_send", None)
    assert life.message.due is not None


def test_discarding_a_subscription_that_is_done_changes_nothing():
    life = life_of_two()
    life.step(life.say.complete("billing"))

    step = life.step(life.say.discard(subscription=life.world.subscriptions["billing"]))

    assert (step.outcome.refusal, step.message) == (Refusal.INVALID_TRANSITION, None)
    assert not step.events


@pytest.mark.parametrize("verb", ["redeliver", "discard", "recheck", "resolve_committed", "resolve_rolled_back"])
@pytest.mark.parametrize("way", ["checks used up", "pulls used up", "prepared"])
def test_another_applications_operator_finds_nothing(way, verb):
    life = life_by(way)

    step = life.step(replace(life.say.for_event(verb), app=life.world.billing))

    assert (step.outcome.refusal, step.outcome.status, step.message) == (Refusal.UNKNOWN_MESSAGE, None, None)
