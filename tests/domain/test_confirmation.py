"""The initiator's side: prepare, confirm, cancel, and what checks bring."""

import dataclasses

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.catalog import pause_topic
from aftercommit.domain.message import Due, DueKind
from aftercommit.domain.policies import CHECK_HOLD_MS
from tests.builders import DAY, HOUR, MINUTE, SECOND, T0, TOPIC, make_prepare, make_world
from tests.domain.life import Life, life_by
from tests.ways import SMALL_BUDGETS, UNREACHABLE_LIMIT


def prepared(policy: dict[str, object] | None = None, *, chance: float = 0.0, delay: int = 0) -> Life:
    life = Life(make_world(policy=SMALL_BUDGETS | (policy or {})), chance=lambda: chance)
    life.do(life.say.prepare(delay=delay))
    return life


def check_due(life: Life, after: int) -> Due:
    return Due(DueKind.CHECK, life.world.orders, life.now + after)


@pytest.mark.parametrize("checks_max", [1, 2, 5])
def test_checks_up_to_the_budget_are_undecided_and_not_one_earlier(checks_max):
    life = prepared({"checks_max": checks_max})

    for made in range(1, checks_max + 1):
        assert life.message.status == "pending_confirmation"
        life.step(life.say.checked("unknown"))
        assert life.message.checks == made

    assert (life.message.status, life.message.error) == ("undecided", "no answer")
    assert life.message.due == check_due(life, HOUR)
    assert life.events[-1].event == "undecided"


@pytest.mark.parametrize("checks_max", [1, 3])
def test_a_handed_out_check_keeps_its_interval_before_the_budget_ends(checks_max):
    life = prepared({"checks_max": checks_max})

    for made in range(1, checks_max + 1):
        step = life.step(c.HandOutCheck(id=life.say.id))
        assert (step.taken, life.message.status, life.message.checks) == (True, "pending_confirmation", made)

    step = life.step(c.HandOutCheck(id=life.say.id))
    assert (step.taken, life.message.status, life.message.checks) == (False, "undecided", checks_max)


def test_the_last_handed_out_check_answered_unknown_is_undecided_at_once():
    life = prepared({"checks_max": 1})
    life.step(c.HandOutCheck(id=life.say.id))

    life.step(life.say.checked("unknown", counted=True))

    assert (life.message.status, life.message.checks) == ("undecided", 1)


def test_a_budget_lowered_below_what_was_used_ends_at_the_next_check():
    life = prepared({"checks_max": 5})
    life.step(life.say.checked("unknown"))
    life.step(life.say.checked("unknown"))
    life.world = make_world(policy=SMALL_BUDGETS | {"checks_max": 1}, catalog=life.world.catalog)

    life.step(life.say.checked("unknown"))

    assert (life.message.status, life.message.checks) == ("undecided", 3)


def test_intervals_between_checks_double_to_the_maximum_and_are_jittered():
    life = prepared({"checks_max": 9, "check_interval_max_seconds": 100}, chance=0.5)
    waits = []
    for _ in range(4):
        life.step(life.say.checked("unknown"))
        assert life.message.due is not None
        waits.append(life.message.due.at - life.now)

    assert waits == [33 * SECOND, 66 * SECOND, 110 * SECOND, 110 * SECOND]


def test_a_hold_changes_nothing_but_the_time():
    life = prepared()
    before = life.message

    step = life.step(c.HoldCheck(id=life.say.id))

    assert life.message.due == check_due(life, CHECK_HOLD_MS)
    assert (life.message.checks, life.message.checked_at, step.events) == (0, None, ())
    assert life.message.status == before.status


@pytest.mark.parametrize("way", ["checks used up", "handed out checks used up", "nobody to ask for too long"])
@pytest.mark.parametrize(
    ("outcome", "status"), [("committed", "pending_send"), ("rolled_back", "rolled_back"), ("unknown", "undecided")]
)
def test_an_undecided_message_is_settled_by_any_definitive_answer(way, outcome, status):
    life = life_by(way)
    checks = life.message.checks

    life.step(life.say.checked(outcome))

    assert (life.message.status, life.message.checks) == (status, checks + 1)


def test_an_undecided_message_goes_on_being_asked_hourly():
    life = life_by("checks used up")

    life.step(life.say.checked("unknown"))
    assert life.message.due == check_due(life, HOUR)
    life.step(life.say.checked("unknown", made=False))
    assert life.message.due == check_due(life, HOUR)
    life.step(c.HandOutCheck(id=life.say.id))
    assert life.message.due == check_due(life, HOUR)
    life.step(c.HoldCheck(id=life.say.id))
    assert life.message.due == check_due(life, CHECK_HOLD_MS)


def test_where_nobody_can_be_asked_a_due_check_waits_untouched_and_then_is_undecided():
    life = prepared()
    due = life.message.due
    assert due is not None

    life.now = due.at + UNREACHABLE_LIMIT - 1
    assert life.step(c.ExpireUnasked(id=life.say.id)).message is None
    life.now += 1
    step = life.step(c.ExpireUnasked(id=life.say.id))

    assert (step.taken, life.message.status, life.message.error) == (False, "undecided", "No check could be made.")


def test_a_first_check_set_for_late_is_not_given_up_before_it_could_be_asked_for():
    # given a local transaction that may take a day, longer than checks may be impossible
    life = Life(make_world(policy=SMALL_BUDGETS))
    life.do(make_prepare(life.world, check_after=DAY))

    life.now = T0 + DAY
    step = life.step(c.ExpireUnasked(id=life.say.id))

    assert (step.message, life.message.status) == (None, "pending_confirmation")


def test_an_undecided_check_stays_for_an_initiator_that_fetches_it():
    # given an application without an address, and an undecided message due for its hourly check
    life = life_by("nobody to ask for too long")
    life.now += HOUR

    # when the service looks for checks nobody fetched, again and again
    for _ in range(59):
        assert life.step(c.ExpireUnasked(id=life.say.id)).message is None
        life.now += MINUTE

    # then it can still be fetched; only after an hour it makes room
    assert life.message.due is not None
    assert life.message.due.at <= life.now
    life.now += MINUTE
    step = life.step(c.ExpireUnasked(id=life.say.id))
    assert step.taken
    assert life.message.due == check_due(life, HOUR)


def test_a_check_that_could_not_be_made_is_told_once():
    life = prepared()

    for _ in range(3):
        life.step(life.say.checked("unknown", made=False))

    assert [(event.event, event.attempt, event.detail) for event in life.events] == [
        ("check_not_possible", None, "no address")
    ]


@pytest.mark.parametrize("confirm_after", [0, HOUR - 1, HOUR, DAY])
def test_a_delayed_message_is_due_at_the_later_of_its_delay_and_the_confirmation(confirm_after):
    life = prepared(delay=HOUR)
    life.now += confirm_after

    life.step(life.say.confirm())

    assert life.message.due == Due(DueKind.SEND, life.world.topic, max(T0 + HOUR, life.now))


def test_a_confirmation_forgets_the_errors_of_checks():
    life = prepared()
    noted = life.step(life.say.checked("unknown")).message

    confirmed = life.step(life.say.confirm()).message

    assert noted is not None
    assert confirmed is not None
    assert (noted.error, confirmed.error) == ("no answer", None)
    assert (confirmed.checks, confirmed.confirmed_at) == (1, life.now)


def test_a_cancel_keeps_its_reason():
    life = prepared()

    life.step(life.say.cancel(reason="no credit"))

    assert (life.message.status, life.message.error, life.message.due) == ("rolled_back", "no credit", None)
    assert life.message.settled_at == life.now


@pytest.mark.parametrize("way", ["completed", "pulled", "cancelled"])
def test_a_late_answer_to_a_check_uses_no_budget(way):
    life = life_by(way)
    before = life.message

    for outcome in ("committed", "rolled_back", "unknown"):
        step = life.step(life.say.checked(outcome))
        assert step.message is None
        assert step.outcome.message == before


def test_a_confirm_to_the_built_in_broker_is_sent_in_the_same_write_and_answers_what_it_did():
    life = prepared()

    step = life.step(c.Confirm(id=life.say.id, app=life.world.orders, actor="orders", pullable=True))

    assert step.outcome.status == "pending_send"
    assert (life.message.status, life.message.due) == ("sent", None)
    assert life.delivery().due == Due(DueKind.PULL, life.world.default, life.now)
    assert (life.delivery().sent_at, life.delivery().attempts) == (life.now, 0)


def test_a_confirmed_message_that_is_not_due_yet_waits_also_at_the_built_in_broker():
    life = prepared(delay=MINUTE)

    life.step(c.Confirm(id=life.say.id, app=life.world.orders, actor="orders", pullable=True))

    assert life.message.status == "pending_send"
    assert life.message.due == Due(DueKind.SEND, life.world.topic, T0 + MINUTE)


def test_a_confirmed_message_of_a_paused_topic_waits_also_at_the_built_in_broker():
    life = prepared()
    paused = pause_topic(life.world.catalog, TOPIC, T0).catalog
    life.world = dataclasses.replace(life.world, catalog=paused)

    life.step(c.Confirm(id=life.say.id, app=life.world.orders, actor="orders", pullable=True))

    assert life.message.status == "pending_send"
