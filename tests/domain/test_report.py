"""The consumer's side: who may report which delivery, and what is said to the others."""

import pytest

from aftercommit.domain.lifecycle import Refusal
from tests.builders import BILLING, MINUTE, SHIPPING, make_prepare, make_world
from tests.domain.life import Life, life_by
from tests.ways import SMALL_BUDGETS

TWO = {"billing": BILLING, "shipping": SHIPPING}


def sent_to(subscriptions: dict[str, str], *, app: int | None = None) -> Life:
    life = Life(make_world(subscriptions, policy=SMALL_BUDGETS))
    life.do(make_prepare(life.world, confirmed=True, app=app))
    life.step(life.say.accepted())
    return life


def test_an_implicit_subscription_is_the_topic_owners_and_the_messages_own_applications():
    # given billing's message in the topic of orders, to which nobody subscribed
    world = make_world()

    for app, refusal in ((world.orders, None), (world.billing, None), (world.shipping, Refusal.UNKNOWN_MESSAGE)):
        life = sent_to({}, app=world.billing)
        assert life.step(life.say.complete(app=app)).outcome.refusal == refusal


def test_a_registered_default_is_its_owners_alone():
    life = sent_to({"default": BILLING})

    # the initiator may know its message exists, but reports for nobody
    assert life.step(life.say.complete("default", app=life.world.orders)).outcome.refusal == Refusal.UNKNOWN_MESSAGE
    assert life.step(life.say.complete("default", app=life.world.billing)).outcome.refusal is None


def test_the_implicit_default_is_unknown_where_others_are_registered():
    life = sent_to(TWO)

    step = life.step(life.say.complete("default", app=life.world.orders))

    assert step.outcome.refusal == Refusal.UNKNOWN_SUBSCRIPTION


def test_a_subscription_added_later_cannot_be_told_by_others():
    life = sent_to({"billing": BILLING})
    life.world = make_world({"billing": BILLING, "shipping": SHIPPING}, catalog=life.world.catalog)

    own = life.step(life.say.complete("shipping", app=life.world.shipping))
    stranger = life.step(life.say.complete("shipping", app=life.world.billing))
    left_out = life.step(life.say.complete(app=life.world.shipping))

    assert (own.outcome.refusal, own.outcome.status, own.message) == (None, "sent", None)
    assert stranger.outcome.refusal == Refusal.UNKNOWN_MESSAGE
    assert left_out.outcome.refusal == Refusal.UNKNOWN_MESSAGE


@pytest.mark.parametrize("way", ["prepared", "checks used up", "cancelled"])
def test_a_stranger_does_not_hear_that_nothing_was_delivered(way):
    life = life_by(way)

    assert life.step(life.say.complete(app=life.world.orders)).outcome.refusal == Refusal.NOT_DELIVERED
    assert life.step(life.say.complete(app=life.world.shipping)).outcome.refusal == Refusal.UNKNOWN_MESSAGE


def test_a_failure_keeps_the_consumers_reason():
    life = sent_to(TWO)

    life.step(life.say.fail("billing", reason="no stock"))

    assert (life.delivery("billing").error, life.message.error) == ("no stock", "no stock")
    assert life.delivery("billing").settled_at == life.now


def test_the_error_of_a_message_is_of_a_delivery_that_still_has_one():
    life = sent_to(TWO)
    for name in TWO:
        for command in (life.say.pull(name), life.say.pull(name), life.say.expire(name)):
            life.step(command)
    life.step(life.say.fail("billing", reason="no stock"))

    life.step(life.say.complete("shipping"))

    assert (life.message.status, life.message.error) == ("failed", "no stock")


def test_acceptance_ends_the_errors_of_earlier_refusals():
    life = life_by("refused by the broker once")
    assert life.message.error == "too large"

    step = life.step(life.say.accepted())

    assert step.message is not None
    assert (step.message.error, step.message.deliveries[0].error) == (None, None)


def test_the_first_sending_is_remembered():
    life = life_by("redelivered by an operator")
    first = life.delivery().sent_at
    life.now += MINUTE

    life.step(life.say.accepted())

    assert life.delivery().sent_at == first


def test_settling_one_delivery_keeps_the_work_of_the_others():
    life = sent_to(TWO)
    life.step(life.say.pull("shipping"))
    due = life.delivery("shipping").due

    life.step(life.say.complete("billing"))

    assert life.delivery("shipping").due == due
    assert life.delivery("billing").due is None
