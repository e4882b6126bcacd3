"""Of many who wait for the same work, one looks for all of them."""

import asyncio
from collections.abc import Callable
from typing import Final

from aftercommit.domain.message import Claimed
from aftercommit.ports.clock import Clock

# What is due and yet was not given is in somebody else's hands, mostly for the time of a commit. Doubles meanwhile.
HELD_SECONDS: Final = 0.005


class Lookout:
    """Calls `wake_one` whenever one of those who wait is to look again.

    That is every `interval` seconds, because work may come up without anybody here being told, and when the next work
    is due as far as the last look has seen. `enter` and `leave` come in pairs; a lookout without anybody costs nothing.
    """

    def __init__(self, wake_one: Callable[[], None], *, clock: Clock, interval: Callable[[], float]) -> None:
        self._wake_one = wake_one
        self._clock = clock
        self._interval = interval
        self._waiting = 0
        self._next_look = 0.0
        self._held_seconds = HELD_SECONDS
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_needed(self) -> bool:
        """Whether anybody waits."""
        return self._waiting > 0

    def enter(self) -> None:
        """Somebody has looked, found nothing, and waits from now on."""
        self._waiting += 1
        if self._task is None:
            self._next_look = self._clock.monotonic() + self._interval()
            self._task = asyncio.create_task(self._watch())

    def leave(self) -> None:
        """Somebody waits no more."""
        self._waiting -= 1
        if self._waiting == 0:
            self._sooner.set()

    def seen(self, claimed: Claimed) -> None:
        """What somebody's look brought says when to look next."""
        wait = 0.0 if claimed.next_at is None else (claimed.next_at - self._clock.now()) / 1000
        if claimed.parked:
            # What was due had used up its budget: look at once for what stands behind it.
            self._look_in(0.0)
        elif claimed.next_at is not None and (wait > 0 or claimed.taken):
            self._look_in(wait)
            self._held_seconds = HELD_SECONDS
        elif claimed.next_at is not None:
            self._look_in(self._held_seconds)
            self._held_seconds = min(2 * self._held_seconds, 1.0)

    def _look_in(self, seconds: float) -> None:
        at = self._clock.monotonic() + seconds
        if at < self._next_look:
            self._next_look = at
            self._sooner.set()

    async def _watch(self) -> None:
        while self._waiting:
            wait = self._next_look - self._clock.monotonic()
            if wait > 0:
                self._sooner.clear()
                await self._clock.wait(self._sooner, wait)
            else:
                self._next_look = self._clock.monotonic() + self._interval()
                self._wake_one()
        self._task = None
