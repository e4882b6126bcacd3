"""Errands are run by who moves time, in its thread, and by nobody else."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from aftercommit.sdk.blocking import run_now
from aftercommit.testing.callers import BlockingCaller, Dropped, Errands
from aftercommit.testing.loop_thread import LoopThread


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    """A running loop."""
    made = LoopThread("loop of a test")
    made.start()
    yield made
    made.stop()


def test_an_errand_waits_for_somebody_who_runs_errands(thread: LoopThread):
    errands = Errands()
    caller = BlockingCaller(thread, errands)
    errand: Future[Any] = thread.submit(errands.send(threading.current_thread))
    run_now(caller.result_of(thread.quiet()))
    assert not errand.done()

    run_now(caller.result_of(errands.answered(), errands=True))

    assert errand.result(10) is threading.current_thread()


def test_what_an_errand_raises_goes_to_who_sent_it(thread: LoopThread):
    errands = Errands()
    with pytest.raises(ZeroDivisionError):
        run_now(BlockingCaller(thread, errands).result_of(errands.send(lambda: 1 // 0), errands=True))


def test_what_ends_the_test_within_an_errand_ends_it(thread: LoopThread):
    errands = Errands()
    errand: Future[Any] = thread.submit(errands.send(lambda: pytest.fail("wrong")))

    async def done() -> None:
        await asyncio.wrap_future(errand)

    with pytest.raises(pytest.fail.Exception, match="wrong"):
        run_now(BlockingCaller(thread, errands).result_of(done(), errands=True))
    with pytest.raises(Dropped):
        errand.result(10)


def test_errands_that_nobody_ran_are_dropped_in_the_end(thread: LoopThread):
    errands = Errands()
    errand: Future[Any] = thread.submit(errands.send(lambda: None))
    run_now(BlockingCaller(thread, errands).result_of(thread.quiet()))

    errands.close()

    with pytest.raises(Dropped):
        errand.result(10)
    with pytest.raises(Dropped):
        thread.submit(errands.send(lambda: None)).result(10)


def test_quiet_comes_after_everything_that_can_go_on(thread: LoopThread):
    done: list[int] = []

    async def work() -> None:
        for step in range(1000):
            await asyncio.sleep(0)
            done.append(step)

    async def begin_and_wait() -> int:
        task = asyncio.create_task(work())
        await thread.quiet()
        assert task.done()
        return len(done)

    assert thread.submit(begin_and_wait()).result(10) == 1000


def test_a_stopped_loop_takes_no_work(thread: LoopThread):
    thread.stop()
    thread.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        thread.submit(thread.quiet())
