"""Confirms that nobody waits for."""

import asyncio
import threading
from collections.abc import Sequence

from aftercommit.sdk.transactions.confirming import AsyncBackgroundConfirms, BackgroundConfirms

PATIENCE_SECONDS = 10


class Slow:
    """A service that answers when it is allowed to."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)

    def confirm(self, message_ids: Sequence[str]) -> None:
        self.calls.append(list(message_ids))
        self.asked.release()
        assert self.may_answer.acquire(timeout=PATIENCE_SECONDS)


def test_no_thread_runs_before_the_first_confirm_and_none_after_close():
    threads = threading.active_count()
    confirms = BackgroundConfirms(lambda ids: None)
    assert threading.active_count() == threads
    confirms(["a"])
    confirms.close()
    confirms.close()
    assert threading.active_count() == threads


def test_what_gathers_during_one_call_goes_with_the_next_and_close_waits_for_it():
    slow = Slow()
    confirms = BackgroundConfirms(slow.confirm)
    confirms(["a"])
    assert slow.asked.acquire(timeout=PATIENCE_SECONDS)
    confirms(["b"])
    confirms(["c", "d"])
    for _ in range(2):
        slow.may_answer.release()
    confirms.close()
    assert slow.calls == [["a"], ["b", "c", "d"]]


def test_after_close_the_next_confirm_starts_anew():
    calls: list[list[str]] = []
    confirms = BackgroundConfirms(lambda ids: calls.append(list(ids)))
    confirms(["a"])
    confirms.close()
    confirms(["b"])
    confirms.close()
    assert calls == [["a"], ["b"]]


async def test_for_asyncio_what_gathers_during_one_call_goes_with_the_next():
    calls: list[list[str]] = []
    may_answer = asyncio.Semaphore(0)

    async def confirm(message_ids: Sequence[str]) -> None:
        calls.append(list(message_ids))
        await may_answer.acquire()

    confirms = AsyncBackgroundConfirms(confirm)
    confirms(["a"])
    await asyncio.sleep(0)
    confirms(["b"])
    confirms(["c"])
    may_answer.release()
    may_answer.release()
    await confirms.close()
    await confirms.close()
    assert calls == [["a"], ["b", "c"]]
