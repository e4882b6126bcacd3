"""Callers whose time is up, who are interrupted or cancelled, and processes that fork."""

import asyncio
import os
import threading

import pytest

from aftercommit.sdk import AsyncClient, Client, Unreachable
from aftercommit.sdk.clients import async_gathering, blocking_gathering, loads
from aftercommit.sdk.clients.gathering import Part
from aftercommit.wire import MessageStatus
from tests.sdk.gathering.crowd import (
    Crowd,
    answers,
    batch,
    ends,
    single,
    until,
)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_who_joined_late_is_told_in_time_that_nothing_of_it_was_sent(kind):
    crowd = Crowd(kind, timeout_seconds=0.05)
    first, late = await crowd.confirm_while_one_is_under_way("a", "b")

    with pytest.raises(Unreachable, match="time was up") as raised:
        await late

    assert (raised.value.perhaps_received, raised.value.repeatable, raised.value.step) == (False, True, "confirm")
    crowd.gate.open()
    # The transport of this test knows no time, so the first call still gets its answer.
    assert (await first).status == "of a"
    assert crowd.service.asked == [single("a")]


async def test_who_joined_a_request_that_takes_too_long_is_told_in_time_that_it_may_have_been_sent():
    crowd = Crowd(AsyncClient, timeout_seconds=0.05)
    first, second, third = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(1)
    await first

    for late in (second, third):
        with pytest.raises(Unreachable, match="time was up") as raised:
            await late
        assert raised.value.perhaps_received is True

    crowd.gate.open()
    await crowd.client.close()
    assert crowd.service.asked == [single("a"), batch("b", "c")]


async def test_what_waits_behind_a_request_that_hangs_overtakes_it(crowd, monkeypatch):
    monkeypatch.setattr(blocking_gathering, "OVERTAKE_SECONDS", 0.01)
    monkeypatch.setattr(async_gathering, "OVERTAKE_SECONDS", 0.01)
    hanging, second = await crowd.confirm_while_one_is_under_way("a", "b")
    await until(lambda: crowd.gate.arrivals == 2)
    assert not hanging.done()
    assert not second.done()

    third = await crowd.joined("confirm", "c")
    await until(lambda: crowd.gate.arrivals == 3)

    crowd.gate.open()
    await answers(hanging, second, third)
    assert sorted(crowd.service.asked) == [single("a"), single("b"), single("c")]


async def test_a_thread_that_is_interrupted_while_it_sends_for_all_takes_nobody_with_it():
    crowd = Crowd(Client)
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")
    crowd.gate.open(1)
    await calls[0]
    # What a signal handler raises, say a worker's own time limit.
    crowd.service.whole = [InterruptedError("a signal")]

    crowd.gate.open()
    ended = await ends(*calls[1:])

    assert sorted(type(each).__name__ for each in ended) == ["InterruptedError", "MessageStatus", "MessageStatus"]
    assert [len(ids) for _, ids in crowd.service.asked] == [1, 3, 2]


async def test_a_caller_that_is_cancelled_takes_nobody_with_it_and_its_place_is_not_sent():
    crowd = Crowd(AsyncClient)
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")
    calls[1].cancel()
    await asyncio.wait([calls[1]])
    crowd.gate.open(1)
    await calls[0]
    await until(lambda: crowd.gate.arrivals == 2)
    calls[2].cancel()
    await asyncio.wait([calls[2]])

    crowd.gate.open()

    assert (await calls[3]).status == "of d"
    assert crowd.service.asked == [single("a"), batch("c", "d")]


async def test_a_caller_that_is_cancelled_in_a_request_of_its_own_lets_the_next_go():
    crowd = Crowd(AsyncClient)
    first, second = await crowd.confirm_while_one_is_under_way("a", "b")
    first.cancel()
    await asyncio.wait([first])

    crowd.gate.open()

    assert (await second).status == "of b"
    assert crowd.service.asked == [single("b")]


async def test_closing_waits_for_a_shared_request_though_its_callers_are_gone():
    crowd = Crowd(AsyncClient)
    first, *others = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(1)
    await first
    await until(lambda: crowd.gate.arrivals == 2)
    for each in others:
        each.cancel()
    closing = asyncio.create_task(crowd.client.close())
    await asyncio.wait(others)
    assert not closing.done()

    crowd.gate.open()
    await closing

    assert crowd.service.asked == [single("a"), batch("b", "c")]


def test_a_loop_that_ends_in_the_middle_leaves_nothing_behind():
    crowd = Crowd(AsyncClient)

    async def leave_in_the_middle():
        calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")
        crowd.gate.open(1)
        await calls[0]
        await until(lambda: crowd.gate.arrivals == 2)
        await crowd.joined("confirm", "e")

    asyncio.run(leave_in_the_middle())
    crowd.gate.open()

    async def go_on():
        return await crowd.client.confirm("f")

    assert asyncio.run(go_on()).status == "of f"


async def test_a_process_that_forked_waits_for_none_of_its_parents_threads():
    crowd = Crowd(Client, timeout_seconds=2)
    first, second = await crowd.confirm_while_one_is_under_way("a", "b")
    child = os.fork()
    if child == 0:
        exit_code = 1
        try:
            crowd.gate.open()
            exit_code = 0 if crowd.client.confirm("c").status == "of c" else 1
        finally:
            os._exit(exit_code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)

    crowd.gate.open()
    await answers(first, second)

    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_a_shared_request_has_the_time_of_those_in_it_from_when_they_called(kind):
    now = [1000.0]
    crowd = Crowd(kind, clock=lambda: now[0], timeout_seconds=10)
    calls = await crowd.confirm_while_one_is_under_way("a", "b")
    await until(lambda: crowd.gate.arrivals == 1)
    now[0] += 1
    calls.append(await crowd.joined("confirm", "c"))
    now[0] += 3

    crowd.gate.open()
    await answers(*calls)

    assert [request.timeout_seconds for request in crowd.service.requests] == pytest.approx([10, 7])


def test_a_thread_that_is_interrupted_while_it_waits_is_not_sent():
    sending, sent, carried = threading.Event(), threading.Event(), []

    def carry(parcel):
        sending.set()
        sent.wait(10)
        carried.append(parcel.parts)
        parcel.settle(parcel.call(), MessageStatus(id="x", status="x"))

    def interrupted():
        if threading.current_thread() is threading.main_thread():
            raise InterruptedError("a signal")
        return 0.0

    gathering = blocking_gathering.BlockingGathering(carry, lambda part, was_waiting: RuntimeError(), interrupted)
    first, second, third = (Part(loads.confirm(each), 1000) for each in "abc")
    threads = [threading.Thread(target=gathering.run, args=(each,)) for each in (first, third)]
    threads[0].start()
    sending.wait(10)
    with pytest.raises(InterruptedError):
        gathering.run(second)
    threads[1].start()
    sent.set()
    for thread in threads:
        thread.join(10)

    assert carried == [[first], [third]]


async def test_a_shared_request_whose_task_is_cancelled_holds_up_nobody_after_it():
    crowd = Crowd(AsyncClient)
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(1)
    await calls[0]
    await until(lambda: crowd.gate.arrivals == 2)
    mine = {asyncio.current_task(), *calls}
    for task in asyncio.all_tasks() - mine:
        task.cancel()
    await asyncio.wait(calls)
    assert all(each.cancelled() for each in calls[1:])

    crowd.gate.open()

    [answer] = await answers(crowd.call("confirm", "d"))
    assert answer.status == "of d"
