"""The node's clock follows the database's, smoothly, and never goes backwards."""

import asyncio
import itertools

import pytest

from aftercommit.clocks import JUMP_MS, SystemClock, wall_ms
from aftercommit.ports.clock import Clock

WALL_MS = 1_750_000_000_000


class Hand:
    """The machine's monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def clock(hand: Hand) -> SystemClock:
    return SystemClock(read_wall_ms=lambda: WALL_MS, read_monotonic=hand)


def test_it_begins_with_the_wall_clock_and_moves_with_the_monotonic_one(clock, hand):
    assert clock.now() == WALL_MS
    assert clock.monotonic() == 100.0

    hand.seconds += 2.5

    assert clock.now() == WALL_MS + 2500
    assert clock.monotonic() == 102.5


@pytest.mark.parametrize("drift", [-3_600_000, -5, 5, 3_600_000])
def test_before_anybody_asked_it_steps_to_the_databases_time(clock, hand, drift):
    assert clock.refresh(WALL_MS + drift) == drift

    assert clock.now() == WALL_MS + drift
    assert clock.jumped == (abs(drift) > JUMP_MS)


def test_a_small_lag_is_worked_off_by_running_faster(clock, hand):
    clock.now()
    clock.refresh(WALL_MS + 1000)

    assert clock.now() == WALL_MS, "it does not step"
    hand.seconds += 1
    assert clock.now() == WALL_MS + 1500
    hand.seconds += 1
    assert clock.now() == WALL_MS + 3000
    hand.seconds += 1
    assert clock.now() == WALL_MS + 4000
    assert not clock.jumped


@pytest.mark.parametrize("drift", [-1000, -3_600_000])
def test_being_ahead_is_worked_off_by_running_slower_never_backwards(clock, hand, drift):
    clock.now()
    clock.refresh(WALL_MS + drift)

    hand.seconds += 1
    assert clock.now() == WALL_MS + 500
    hand.seconds += 1
    assert clock.now() == WALL_MS + 1000
    assert clock.jumped == (abs(drift) > JUMP_MS)


def test_the_correction_ends_exactly_at_the_databases_time(clock, hand):
    clock.now()
    clock.refresh(WALL_MS - 1000)

    hand.seconds += 10

    assert clock.now() == WALL_MS + 9000


def test_how_often_it_is_asked_does_not_change_the_correction(clock, hand):
    clock.now()
    clock.refresh(WALL_MS + 1000)

    for _ in range(16):
        hand.seconds += 0.0625
        clock.now()

    assert clock.now() == WALL_MS + 1500


def test_a_jump_forward_is_followed_at_once_and_shows_until_the_next_good_refresh(clock, hand):
    clock.now()

    assert clock.refresh(WALL_MS + 120_000) == 120_000
    assert clock.jumped
    assert clock.now() == WALL_MS + 120_000

    hand.seconds += 30
    assert clock.refresh(WALL_MS + 150_000) == 0
    assert not clock.jumped


def test_it_never_goes_backwards_whatever_the_database_says(clock, hand):
    seen = [clock.now()]
    for drift in itertools.islice(itertools.cycle([500, -500, 90_000, -90_000, -1, 0]), 60):
        clock.refresh(seen[-1] + drift)
        seen.append(clock.now())
        hand.seconds += 0.25
        seen.append(clock.now())

    assert seen == sorted(seen)


async def test_waiting_ends_when_the_event_is_set():
    clock: Clock = SystemClock()
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 60))
    await asyncio.sleep(0)

    event.set()

    assert await waiting is True
    assert event.is_set()


@pytest.mark.parametrize("seconds", [-1, 0, 0.001])
async def test_waiting_ends_when_the_time_has_passed(seconds):
    assert await SystemClock().wait(asyncio.Event(), seconds) is False


@pytest.mark.parametrize("seconds", [-1, 0])
async def test_a_set_event_counts_even_without_time(seconds):
    event = asyncio.Event()
    event.set()

    assert await SystemClock().wait(event, seconds) is True


def test_the_wall_clock_is_in_milliseconds():
    assert 1_700_000_000_000 < wall_ms() < 10_000_000_000_000
