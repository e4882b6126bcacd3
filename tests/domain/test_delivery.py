"""The broker's side: accepted, refused, pulled, redelivered, given up."""

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import Due, DueKind
from tests.builders import BILLING, HOUR, MINUTE, SECOND, SHIPPING, make_world
from tests.domain.life import Life, life_by
from tests.ways import SMALL_BUDGETS

TWO = {"billing": BILLING, "shipping": SHIPPING}


def life_of_two(policy: dict[str, object] | None = None) -> Life:
    life = Life(make_world(TWO, policy=SMALL_BUDGETS | (policy or {})))
    life.do(life.say.prepare(confirmed=True))
    return life


def test_a_store_backed_broker_makes_each_delivery_pullable_and_counts_no_attempt():
    life = life_of_two()

    life.step(life.say.accepted())

    billing = life.delivery("billing")
    assert (billing.status, billing.attempts, billing.sent_at) == (Status.SENT, 0, life.now)
    assert billing.due == Due(DueKind.PULL, billing.subscription, life.now)
    assert life.message.due is None


def test_an_outside_broker_counts_the_first_attempt_and_sets_the_first_interval():
    life = life_of_two()

    life.step(life.say.accepted(pullable=False))

    billing = life.delivery("billing")
    assert (billing.status, billing.attempts) == (Status.SENT, 1)
    assert billing.due == Due(DueKind.REDELIVER, billing.subscription, life.now + MINUTE)


def test_acceptance_leaves_a_delivery_alone_that_was_settled_meanwhile():
    life = life_of_two()
    life.step(life.say.complete("billing"))

    life.step(life.say.accepted())

    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("completed", "sent")
    assert life.message.status == "sent"


def test_acceptance_of_one_subscription_keeps_the_others_due():
    life = life_of_two()
    due = life.message.due

    life.step(c.Accepted(id=life.say.id, pullable=True, subscription=life.world.subscriptions["billing"]))

    assert (life.message.status, life.message.due) == ("pending_send", due)
    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("sent", "pending_send")


def test_a_refusal_is_tried_again_after_a_doubling_pause():
    life = life_of_two({"publish_attempts_max": 5, "publish_retry_seconds": 1, "publish_retry_max_seconds": 3})
    waits = []

    for _ in range(4):
        life.step(life.say.refused(final=False))
        assert life.message.due is not None
        waits.append(life.message.due.at - life.now)

    assert waits == [1 * SECOND, 2 * SECOND, 3 * SECOND, 3 * SECOND]
    assert life.message.status == "pending_send"
    assert [event.attempt for event in life.events] == [1, 2, 3, 4]


def test_refusals_up_to_the_budget_are_undelivered():
    life = life_of_two()

    life.step(life.say.refused(final=False))
    assert life.message.status == "pending_send"
    life.step(life.say.refused(final=False))

    assert (life.message.status, life.message.error, life.message.due) == ("undelivered", "too large", None)


def test_refusals_of_one_delivery_do_not_use_up_the_budget_of_another():
    # given billing and shipping given up by the broker, and billing redelivered with fresh budgets
    life = life_of_two()
    life.step(life.say.refused(final=False))
    life.step(life.say.refused(final=False))
    life.step(life.say.redeliver("billing"))

    # when
    life.step(life.say.refused(final=False))

    # then
    assert (life.delivery("billing").status, life.delivery("billing").refusals) == ("pending_send", 1)
    assert life.delivery("shipping").refusals == 2


def test_a_refusal_parks_only_the_delivery_whose_budget_it_uses_up():
    # given billing refused once alone
    life = life_of_two()
    billing = life.world.subscriptions["billing"]
    life.step(c.BrokerRefused(id=life.say.id, reason="no", final=False, subscription=billing))

    # when
    life.step(life.say.refused(final=False))

    # then
    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("undelivered", "pending_send")
    assert life.message.due is not None
    assert life.delivery("billing").due is None


def test_a_refusal_of_a_settled_delivery_changes_nothing():
    life = life_of_two()
    life.step(life.say.complete("billing"))

    billing = life.world.subscriptions["billing"]
    step = life.step(c.BrokerRefused(id=life.say.id, reason="no", final=False, subscription=billing))

    assert (step.outcome.refusal, step.message) == (Refusal.INVALID_TRANSITION, None)


def test_a_final_refusal_leaves_a_completed_delivery_completed():
    life = life_of_two()
    life.step(life.say.complete("billing"))

    life.step(life.say.refused())

    assert (life.delivery("billing").status, life.delivery("shipping").status) == ("completed", "undelivered")
    assert life.message.status == "undelivered"


@pytest.mark.parametrize("final", [True, False])
def test_a_refused_redelivery_is_an_attempt_and_never_due_at_once_again(final):
    # given
    life = life_of_two({"deliveries_max": 3})
    life.step(life.say.accepted(pullable=False))
    billing = life.world.subscriptions["billing"]
    refusal = c.BrokerRefused(id=life.say.id, reason="too large", final=final, subscription=billing)

    # when
    life.now += MINUTE
    life.step(refusal)

    # then
    delivery = life.delivery("billing")
    assert (delivery.status, delivery.attempts, delivery.error) == ("sent", 2, "too large")
    assert delivery.due == Due(DueKind.REDELIVER, billing, life.now + 5 * MINUTE)
    assert life.delivery("shipping").attempts == 1

    # when it goes on
    for _ in range(2):
        life.now += HOUR
        life.step(refusal)

    # then
    assert (life.delivery("billing").status, life.delivery("billing").attempts) == ("undelivered", 3)


def test_a_pull_counts_an_attempt_and_hides_the_delivery_for_that_attempts_interval():
    life = life_of_two({"deliveries_max": 3})
    life.step(life.say.accepted())

    life.step(life.say.pull("billing"))

    billing = life.delivery("billing")
    assert (billing.attempts, billing.pulled_at) == (1, life.now)
    assert billing.due == Due(DueKind.PULL, billing.subscription, life.now + MINUTE)
    assert life.delivery("shipping").attempts == 0

    life.now += MINUTE
    life.step(life.say.pull("billing"))

    billing = life.delivery("billing")
    assert (billing.attempts, billing.pulled_at) == (2, life.now - MINUTE)
    assert billing.due == Due(DueKind.PULL, billing.subscription, life.now + 5 * MINUTE)


def test_after_the_last_pull_its_interval_still_passes():
    life = life_of_two()
    life.step(life.say.accepted())
    life.step(life.say.pull("billing"))
    life.step(life.say.pull("billing"))

    billing = life.delivery("billing")
    assert (billing.status, billing.attempts) == ("sent", 2)
    assert billing.due == Due(DueKind.EXPIRE, billing.subscription, life.now + 5 * MINUTE)

    step = life.step(life.say.expire("billing"))

    assert not step.taken
    assert (life.delivery("billing").status, life.delivery("billing").due) == ("undelivered", None)
    assert life.message.status == "sent"


def test_a_budget_raised_meanwhile_reopens_what_was_to_expire():
    life = life_of_two()
    life.step(life.say.accepted())
    life.step(life.say.pull("billing"))
    life.step(life.say.pull("billing"))
    life.world = make_world(TWO, policy=SMALL_BUDGETS | {"deliveries_max": 3}, catalog=life.world.catalog)

    step = life.step(life.say.expire("billing"))

    assert step.taken
    billing = life.delivery("billing")
    assert (billing.status, billing.due) == ("sent", Due(DueKind.PULL, billing.subscription, life.now))


def test_a_budget_lowered_meanwhile_gives_up_at_the_next_pull():
    life = life_of_two()
    life.step(life.say.accepted())
    life.step(life.say.pull("billing"))
    life.world = make_world(TWO, policy=SMALL_BUDGETS | {"deliveries_max": 1}, catalog=life.world.catalog)

    step = life.step(life.say.pull("billing"))

    assert (step.taken, life.delivery("billing").status, life.delivery("billing").attempts) == (False, "undelivered", 1)


def test_a_redelivery_counts_up_to_the_budget_and_then_gives_up():
    life = life_of_two({"deliveries_max": 3})
    life.step(life.say.accepted(pullable=False))

    seen = []
    for _ in range(3):
        step = life.step(life.say.redelivered("billing"))
        seen.append((step.taken, life.delivery("billing").attempts, life.delivery("billing").status.value))

    assert seen == [(True, 2, "sent"), (True, 3, "sent"), (False, 3, "undelivered")]
    assert life.delivery("billing").error == "Not reported after 3 deliveries."


def test_the_last_redelivery_interval_repeats():
    life = life_of_two({"deliveries_max": 5})
    life.step(life.say.accepted(pullable=False))

    waits = []
    for _ in range(3):
        life.step(life.say.redelivered("billing"))
        due = life.delivery("billing").due
        assert due is not None
        waits.append(due.at - life.now)

    assert waits == [5 * MINUTE] * 3


def test_a_subscription_has_budgets_of_its_own():
    world = make_world(TWO, policy=SMALL_BUDGETS)
    billing = world.subscriptions["billing"]
    policies = [world.catalog.policy(world.topic, each).deliveries_max for each in (None, billing)]

    assert policies == [2, 2]


@pytest.mark.parametrize(
    "command",
    [
        c.Pull(id="x", subscription=999),
        c.Redelivered(id="x", subscription=999),
        c.Expire(id="x", subscription=999),
        c.Accepted(id="x", pullable=True, subscription=999),
        c.BrokerRefused(id="x", reason="no", final=True, subscription=999),
        c.BrokerRefused(id="x", reason="no", final=False, subscription=999),
    ],
    ids=lambda command: type(command).__name__,
)
@pytest.mark.parametrize("way", ["pulled", "confirmed"])
def test_work_for_a_subscription_the_message_does_not_have_changes_nothing(way, command):
    life = life_by(way)

    step = life.step(command)

    assert (step.outcome.refusal, step.message) == (Refusal.INVALID_TRANSITION, None)


def test_the_first_pull_after_fresh_budgets_is_told_like_every_later_one():
    life = life_by("redelivered by an operator")
    life.step(life.say.accepted())
    before = len(life.events)

    life.step(life.say.pull())

    assert [(event.event, event.attempt) for event in life.events[before:]] == [("redelivered", 1)]
