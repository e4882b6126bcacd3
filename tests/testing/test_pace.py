"""Time goes from one due time to the next, and ever faster past what nobody can do."""

from aftercommit.testing.pace import Pace


def test_it_goes_to_the_next_due_time():
    assert Pace(300).step_seconds(1000, {"a": 4000, "b": 3000}, again_seconds=1) == 2.0


def test_nothing_due_is_no_step():
    assert Pace(300).step_seconds(1000, {}, again_seconds=1) is None


def test_what_is_overdue_is_looked_at_ever_more_seldom():
    pace = Pace(10)
    assert [pace.step_seconds(1000, {"a": 1000}, again_seconds=1) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert pace.step_seconds(1000, {"a": 999}, again_seconds=1) == 1


def test_what_is_overdue_never_leads_past_another_due_time():
    pace = Pace(300)
    steps = [pace.step_seconds(now * 1000, {"a": 0, "b": 5000}, again_seconds=1) for now in (0, 1, 3)]
    assert steps == [1, 2, 2]
