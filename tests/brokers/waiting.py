"""Waiting, on an event loop, for what must come."""

import asyncio
from collections.abc import Callable

from aftercommit.clocks import SystemClock

WITHIN_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.01


async def until(condition: Callable[[], bool], within_seconds: float = WITHIN_SECONDS) -> None:
    """Return when the condition holds; fail when it does not come to hold."""
    clock = SystemClock()
    end = clock.monotonic() + within_seconds
    while not condition():
        assert clock.monotonic() < end, f"It did not come to hold within {within_seconds} s."
        await clock.wait(asyncio.Event(), LOOK_AGAIN_SECONDS)
