"""Waiting for what must come, and letting things happen at the same moment."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from tests.e2e.caller import Caller

T = TypeVar("T")

WITHIN_SECONDS = 15.0
LOOK_AGAIN_SECONDS = 0.02


def eventually(probe: Callable[[], T], meets: Callable[[T], bool], within_seconds: float = WITHIN_SECONDS) -> T:
    """What `probe` says once it `meets` the expectation; fails when the time is up."""
    until = time.monotonic() + within_seconds
    while True:
        seen = probe()
        if meets(seen):
            return seen
        assert time.monotonic() < until, f"Still {seen!r} after {within_seconds} s."
        time.sleep(LOOK_AGAIN_SECONDS)


def await_status(caller: Caller, message_id: str, *statuses: str, within_seconds: float = WITHIN_SECONDS) -> str:
    """The status of a message once it is one of these."""
    return eventually(lambda: caller.status(message_id), lambda status: status in statuses, within_seconds)


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Make all these calls at the same moment, each in a thread of its own; what they returned, in order."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result(60) for each in [pool.submit(run, call) for call in calls]]


def spread(workers: int, work: Callable[[int], T]) -> list[T]:
    """Run `work` in that many threads, each with its number; what they returned, in order."""
    return at_once(*(partial(work, number) for number in range(workers)))


class InBackground(AbstractContextManager["InBackground[T]"]):
    """A call that runs in a thread while the test goes on; `result` waits for it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(call)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    def result(self, within_seconds: float = 40.0) -> T:
        """What it returned."""
        return self._future.result(within_seconds)


def ids_of(messages: Sequence[dict[str, str]]) -> list[str]:
    """The ids of messages, in their order."""
    return [each["id"] for each in messages]
