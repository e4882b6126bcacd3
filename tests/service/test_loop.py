"""A loop runs its rounds whatever happens in them, shows how it is getting on, and stops when told to."""

import asyncio
import gc

import pytest

from aftercommit.service.loop import BACK_OFF_MAX_SECONDS, Loop, LoopState, Supervisor
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver


class Round:
    """A scripted round: takes the next answer, the last one for ever; an exception among them is raised."""

    def __init__(self, clock: ManualClock, *answers: float | BaseException | None) -> None:
        self._clock = clock
        self._answers = list(answers) or [None]
        self.times: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> float | None:
        self.times.append(self._clock.monotonic())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await self.gate.wait()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def make_loop(clock, observer):
    """Loops with an interval of 10 s and no stagger unless told; stopped after the test."""
    loops = []

    def make(run_once, *, name="sweep", chance=0.0, interval_seconds=10.0) -> Loop:
        loop = Loop(
            name,
            run_once,
            clock=clock,
            observer=observer,
            interval_seconds=interval_seconds,
            chance=lambda: chance,
        )
        loops.append(loop)
        return loop

    yield make
    for loop in loops:
        loop.request_stop()
    await clock.settle()


async def test_it_runs_at_its_interval(clock, observer, make_loop):
    sweep = Round(clock)
    loop = make_loop(sweep)

    loop.start()
    await clock.run(25)

    assert sweep.times == [0, 10, 20]
    assert observer.counted("loop_runs", loop="sweep") == 3
    assert loop.progress().state is LoopState.WAITING


async def test_the_first_round_comes_after_a_random_part_of_the_interval(clock, make_loop):
    sweep = Round(clock)
    make_loop(sweep, chance=0.7).start()

    await clock.run(18)

    assert sweep.times == [7, 17]


async def test_a_round_says_when_it_wants_to_run_again(clock, make_loop):
    sweep = Round(clock, 0, 0, 3, None)
    make_loop(sweep).start()

    await clock.run(14)

    assert sweep.times == [0, 0, 0, 3, 13]


@pytest.mark.parametrize("wakes_itself", [False, True])
async def test_a_round_that_never_wants_to_rest_leaves_room_for_others(make_loop, wakes_itself):
    async def restless() -> float | None:
        if wakes_itself:
            loop.wake()
        return None if wakes_itself else 0

    loop = make_loop(restless)
    loop.start()

    await asyncio.wait_for(loop.stop(), 5)

    assert loop.progress().state is LoopState.STOPPED


async def test_waking_cuts_a_pause_short(clock, make_loop):
    sweep = Round(clock)
    loop = make_loop(sweep, chance=0.9)
    loop.start()
    await clock.run(1)

    loop.wake()
    await clock.run(4)
    loop.wake()
    await clock.settle()

    assert sweep.times == [1, 5]


async def test_waking_during_a_round_brings_another_round(clock, make_loop):
    sweep = Round(clock)
    sweep.gate.clear()
    loop = make_loop(sweep)
    loop.start()
    await clock.settle()

    loop.wake()
    sweep.gate.set()
    await clock.settle()

    assert sweep.times == [0, 0]


async def test_a_failing_round_is_told_and_tried_again_with_longer_and_longer_pauses(clock, observer, make_loop):
    sweep = Round(clock, OSError("disk full"), OSError("disk full"), OSError("disk full"), None)
    loop = make_loop(sweep)
    loop.start()

    await clock.settle()
    assert loop.progress().state is LoopState.BACKING_OFF
    assert loop.progress().failures == 1
    assert loop.progress().last_error == "OSError: disk full"
    await clock.run(5)

    assert sweep.times == [0, 0.5, 1.5, 3.5]
    assert observer.alerted() == ["loop_failed"] * 3
    assert "sweep" in observer.alerts[0][1]
    assert "disk full" in observer.alerts[0][1]
    assert observer.counted("loop_failures", loop="sweep") == 3
    assert loop.progress().failures == 0
    assert loop.progress().last_success == 3.5


async def test_the_back_off_has_a_limit_and_begins_anew_after_a_success(clock, make_loop):
    sweep = Round(clock, *[ValueError("no")] * 10, None, ValueError("no"), None)
    make_loop(sweep, interval_seconds=100).start()

    await clock.run(1000)

    pauses = [after - before for before, after in zip(sweep.times, sweep.times[1:], strict=False)]
    assert pauses[:10] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert max(pauses[:10]) == BACK_OFF_MAX_SECONDS
    assert pauses[10:12] == [100, 0.5]


async def test_waking_does_not_cut_a_back_off_short(clock, make_loop):
    sweep = Round(clock, OSError("down"), None)
    loop = make_loop(sweep)
    loop.start()
    await clock.settle()

    loop.wake()
    await clock.run(0.4)
    assert sweep.times == [0]

    await clock.run(0.1)
    assert sweep.times == [0, 0.5]


async def test_a_cancellation_leaking_out_of_a_round_is_a_failure_not_an_end(clock, observer, make_loop):
    sweep = Round(clock, asyncio.CancelledError(), None)
    make_loop(sweep).start()

    await clock.run(1)

    assert sweep.times == [0, 0.5]
    assert observer.alerted() == ["loop_failed"]


async def test_a_loop_whose_task_dies_shows_it_and_is_started_anew(clock, observer, make_loop):
    sweep = Round(clock)
    loop = make_loop(sweep)
    loop.start()
    await clock.settle()

    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "loop sweep"]
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0)

    assert loop.progress().state in {LoopState.DIED, LoopState.BACKING_OFF}
    assert loop.progress().last_error == "its task was cancelled"
    assert observer.alerted() == ["loop_died"]
    await clock.run(0.5)
    assert sweep.times == [0, 0.5]
    assert loop.progress().state is LoopState.WAITING


async def test_stopping_ends_a_pause_at_once_and_may_be_repeated(clock, observer, make_loop):
    sweep = Round(clock)
    loop = make_loop(sweep)
    loop.start()
    await clock.settle()

    await loop.stop()
    await loop.stop()
    await clock.run(60)

    assert sweep.times == [0]
    assert loop.progress().state is LoopState.STOPPED
    assert observer.alerts == []


async def test_stopping_a_loop_that_was_never_started_does_nothing(clock, make_loop):
    loop = make_loop(Round(clock))

    await loop.stop()

    assert loop.progress().state is LoopState.STOPPED
    assert not loop.progress().stale


async def test_stopping_waits_for_the_running_round(clock, make_loop):
    sweep = Round(clock, 0)
    sweep.gate.clear()
    loop = make_loop(sweep)
    loop.start()
    await clock.settle()

    stopping = [asyncio.create_task(loop.stop()) for _ in range(2)]
    await clock.run(5)
    assert not any(task.done() for task in stopping)

    sweep.gate.set()
    await asyncio.gather(*stopping)
    assert sweep.times == [0]
    assert loop.progress().last_success == 5


async def test_a_round_that_outlasts_the_grace_period_is_cancelled_and_told(clock, observer, make_loop):
    sweep = Round(clock)
    sweep.gate.clear()
    loop = make_loop(sweep)
    loop.start()
    await clock.settle()

    stopping = asyncio.create_task(loop.stop(grace_seconds=3))
    await clock.run(3)
    await stopping

    assert loop.progress().state is LoopState.STOPPED
    assert observer.alerted() == ["loop_cancelled"]


async def test_starting_twice_is_starting_once_and_a_stopped_loop_may_start_again(clock, make_loop):
    sweep = Round(clock)
    loop = make_loop(sweep)

    loop.start()
    loop.start()
    await clock.settle()
    await loop.stop()
    loop.start()
    await clock.settle()

    assert sweep.times == [0, 0]
    assert loop.progress().state is LoopState.WAITING


async def test_a_loop_that_nobody_else_refers_to_is_not_collected(clock, make_loop):
    sweep = Round(clock)
    make_loop(sweep).start()
    await clock.settle()

    gc.collect()
    await clock.run(10)

    assert sweep.times == [0, 10]


async def test_a_waiting_loop_is_not_stale_however_long_its_interval(clock, make_loop):
    loop = make_loop(Round(clock), interval_seconds=3600)
    loop.start()

    await clock.run(3599)

    assert not loop.progress().stale
    assert loop.progress().idle_seconds == 3599


async def test_a_hanging_round_becomes_stale(clock, make_loop):
    sweep = Round(clock)
    sweep.gate.clear()
    loop = make_loop(sweep)
    loop.start()

    await clock.run(60)
    assert not loop.progress().stale
    assert loop.progress().state is LoopState.RUNNING

    await clock.run(1)
    assert loop.progress().stale
    assert loop.progress().last_success is None


async def test_a_failing_loop_becomes_stale_and_recovers(clock, make_loop):
    sweep = Round(clock, None, *[OSError("down")] * 8, None)
    loop = make_loop(sweep)
    loop.start()

    await clock.run(75)
    assert loop.progress().stale

    await clock.run(60)
    assert not loop.progress().stale


async def test_a_loop_that_keeps_dying_becomes_stale(clock, make_loop):
    async def end_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    loop = make_loop(end_itself)
    loop.start()

    await clock.run(75)

    assert loop.progress().stale


async def test_a_supervisor_starts_reports_and_stops_all_its_loops(clock, make_loop):
    first, second = Round(clock), Round(clock)
    supervisor = Supervisor([make_loop(first, name="first")])
    supervisor.add(make_loop(second, name="second"))

    supervisor.start()
    await clock.run(10)

    assert first.times == second.times == [0, 10]
    assert {name: each.state for name, each in supervisor.report().items()} == {
        "first": LoopState.WAITING,
        "second": LoopState.WAITING,
    }
    assert supervisor.healthy()

    await supervisor.stop()
    await supervisor.stop()
    await clock.run(60)
    assert first.times == second.times == [0, 10]
    assert {each.state for each in supervisor.report().values()} == {LoopState.STOPPED}


async def test_a_supervisor_lets_no_loop_begin_another_round_while_one_is_still_running(clock, make_loop):
    slow, quick = Round(clock), Round(clock, 1)
    slow.gate.clear()
    supervisor = Supervisor([make_loop(slow, name="slow"), make_loop(quick, name="quick")])
    supervisor.start()
    await clock.settle()

    stopping = asyncio.create_task(supervisor.stop())
    await clock.run(5)
    assert quick.times == [0]

    slow.gate.set()
    await stopping


async def test_one_stale_loop_makes_the_supervisor_unhealthy(clock, make_loop):
    hanging = Round(clock)
    hanging.gate.clear()
    supervisor = Supervisor([make_loop(Round(clock), name="good"), make_loop(hanging, name="bad")])
    supervisor.start()

    await clock.run(61)

    assert not supervisor.healthy()
    assert [name for name, each in supervisor.report().items() if each.stale] == ["bad"]
    hanging.gate.set()


async def test_two_loops_cannot_have_the_same_name(clock, make_loop):
    with pytest.raises(ValueError, match="sweep"):
        Supervisor([make_loop(Round(clock)), make_loop(Round(clock))])
