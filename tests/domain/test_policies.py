"""When next, and when enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from aftercommit.domain import policies
from aftercommit.domain.errors import Invalid
from aftercommit.domain.policies import Policy

ALMOST_ONE = 1 - 2**-53
POLICY = Policy()


def test_the_defaults_are_the_protocols():
    assert asdict(POLICY) == {
        "check_after_seconds": 60,
        "check_interval_seconds": 30,
        "check_interval_max_seconds": 600,
        "checks_max": 15,
        "publish_retry_seconds": 1,
        "publish_retry_max_seconds": 300,
        "publish_attempts_max": 10,
        "redelivery_seconds": (60, 300, 900, 3600, 21600),
        "deliveries_max": 12,
        "retention_seconds": 7 * 24 * 3600,
    }


@given(seconds=st.floats(0, 366 * 24 * 3600), chance=st.floats(0, ALMOST_ONE))
def test_jitter_lengthens_by_at_most_a_fifth_and_never_shortens(seconds, chance):
    waited = policies.jittered(seconds, chance)

    assert round(seconds * 1000) <= waited <= round(seconds * 1200)


@pytest.mark.parametrize(
    ("checks", "seconds"), [(0, 30), (1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (7, 600), (1000, 600)]
)
def test_check_intervals_double_from_the_first_to_the_maximum(checks, seconds):
    assert policies.check_delay(POLICY, checks, 0.0) == seconds * 1000


@pytest.mark.parametrize(("refusals", "seconds"), [(0, 1), (1, 1), (2, 2), (9, 256), (10, 300), (1000, 300)])
def test_publishing_again_doubles_to_the_maximum(refusals, seconds):
    assert policies.publish_delay(POLICY, refusals, 0.0) == seconds * 1000


@pytest.mark.parametrize(("attempt", "seconds"), [(0, 60), (1, 60), (2, 300), (5, 21600), (6, 21600), (1000, 21600)])
def test_the_last_redelivery_interval_repeats(attempt, seconds):
    assert policies.redelivery_delay(POLICY, attempt, 0.0) == seconds * 1000


def test_fractions_of_a_second_are_allowed():
    policy = Policy.merged({"check_interval_seconds": 0.25, "redelivery_seconds": [0.5]})

    assert policies.check_delay(policy, 1, 0.0) == 250
    assert policies.redelivery_delay(policy, 9, 0.0) == 500


def test_no_check_possible_for_as_long_as_all_checks_would_take_is_too_long():
    assert policies.unreachable_limit(POLICY) == 15 * 600 * 1000


def test_a_later_layer_wins_field_by_field():
    policy = Policy.merged({"checks_max": 3, "deliveries_max": 4}, {"deliveries_max": 5})

    assert (policy.checks_max, policy.deliveries_max, policy.publish_attempts_max) == (3, 5, 10)


@pytest.mark.parametrize(
    "layer",
    [
        {"checks_max": 0},
        {"checks_max": 1001},
        {"checks_max": -1},
        {"checks_max": 1.5},
        {"checks_max": True},
        {"checks_max": "3"},
        {"publish_attempts_max": 0},
        {"deliveries_max": 0},
        {"redelivery_seconds": []},
        {"redelivery_seconds": [1] * 33},
        {"redelivery_seconds": [60, -1]},
        {"redelivery_seconds": 60},
        {"check_after_seconds": -0.1},
        {"check_after_seconds": float("nan")},
        {"check_after_seconds": float("inf")},
        {"retention_seconds": 366 * 24 * 3600 + 1},
        {"patience": 3},
    ],
    ids=str,
)
def test_nonsense_is_refused_by_name(layer):
    with pytest.raises(Invalid) as refused:
        Policy.merged(layer)

    assert refused.value.code == "invalid_policy"
    assert str(refused.value.pointer).startswith("/policy")


@pytest.mark.parametrize(
    "layer", [{"checks_max": 1}, {"deliveries_max": 1000}, {"redelivery_seconds": [0] * 32}], ids=str
)
def test_the_bounds_are_allowed(layer):
    Policy.merged(layer)
