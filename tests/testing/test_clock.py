"""The manual clock stands still until it is moved, and wakes who waits in the order of their times."""

import asyncio

import pytest

from aftercommit.ports.clock import Clock
from aftercommit.testing.clock import ManualClock


async def test_time_stands_still_until_it_is_advanced():
    clock: Clock = ManualClock(5000)
    assert (clock.now(), clock.monotonic()) == (5000, 0.0)


async def test_advancing_moves_both_clocks():
    clock = ManualClock(5000)

    clock.advance(1.25)
    clock.advance(0)

    assert (clock.now(), clock.monotonic()) == (6250, 1.25)


async def test_ten_tenths_are_one():
    clock = ManualClock()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 1.1))
    await clock.settle()

    for _ in range(11):
        clock.advance(0.1)

    assert await waiting is False


async def test_time_never_goes_back():
    with pytest.raises(ValueError, match="only goes forward"):
        ManualClock().advance(-1)


async def test_a_waiter_stays_until_exactly_its_time_has_come():
    clock = ManualClock()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    await clock.settle()

    clock.advance(4.999)
    await clock.settle()
    assert not waiting.done()
    assert clock.waiters == 1

    clock.advance(0.001)
    assert await waiting is False
    assert clock.waiters == 0


async def test_a_set_event_ends_the_wait_and_stays_set():
    clock = ManualClock()
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 5))
    await clock.settle()

    event.set()

    assert await waiting is True
    assert event.is_set()
    assert clock.waiters == 0


async def test_an_event_set_in_the_same_moment_as_the_time_comes_counts():
    clock = ManualClock()
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 5))
    await clock.settle()

    event.set()
    clock.advance(5)

    assert await waiting is True


async def test_without_time_there_is_no_waiting():
    event = asyncio.Event()
    assert await ManualClock().wait(event, 0) is False

    event.set()
    assert await ManualClock().wait(event, 0) is True


async def test_waiters_wake_in_the_order_of_their_times_then_of_their_arrival():
    clock = ManualClock()
    woken = []

    async def wait(name: str, seconds: float) -> None:
        await clock.wait(asyncio.Event(), seconds)
        woken.append(name)

    tasks = [asyncio.create_task(wait(name, seconds)) for name, seconds in [("c", 3), ("a", 1), ("b", 2), ("b2", 2)]]
    await clock.settle()
    clock.advance(10)
    await asyncio.gather(*tasks)

    assert woken == ["a", "b", "b2", "c"]


async def test_run_lets_each_waiter_go_on_at_its_own_time():
    clock = ManualClock(0)
    seen = []

    async def tick() -> None:
        while True:
            await clock.wait(asyncio.Event(), 2)
            seen.append(clock.now())

    ticking = asyncio.create_task(tick())
    await clock.run(7)
    ticking.cancel()

    assert seen == [2000, 4000, 6000]
    assert clock.now() == 7000


async def test_a_cancelled_waiter_is_forgotten():
    clock = ManualClock()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    await clock.settle()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert clock.waiters == 0
    clock.advance(10)
