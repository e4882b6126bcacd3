"""Natural batching as threads and tasks of one client meet it, with a service behind a gate that the test opens."""

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aftercommit.sdk import (
    AsyncClient,
    Client,
    Denied,
    Invalid,
    NotFound,
    RolledBack,
    Unavailable,
    Unreachable,
    async_gathering,
    blocking_gathering,
    loads,
    new_message,
)
from aftercommit.sdk.answers import Response
from aftercommit.sdk.exchange import NoAnswer
from aftercommit.sdk.gathering import Gathering, Part
from aftercommit.wire import MessageStatus
from tests.sdk.answering import AsyncGate, Gate, MemoryService, refused

LOST = NoAnswer("the connection was lost", perhaps_received=True)
TOO_LARGE = refused(413, "payload_too_large")
HANGING_SECONDS = 8


class Crowd:
    """Callers of one client, threads or tasks, and the service behind its gate."""

    def __init__(self, kind, **options):
        self.service = MemoryService()
        self.is_blocking = kind is Client
        self.gate = (Gate if self.is_blocking else AsyncGate)(self.service)
        self.slept: list[float] = []
        sleep = self.slept.append if self.is_blocking else self._sleep
        self.client = kind(transport=self.gate, sleep=sleep, **options)

    def call(self, method, *arguments, **named):
        """A task in which one caller calls."""
        bound = getattr(self.client, method)
        if self.is_blocking:
            return asyncio.ensure_future(asyncio.to_thread(bound, *arguments, **named))
        return asyncio.create_task(bound(*arguments, **named))

    async def confirm_while_one_is_under_way(self, *ids):
        """The first caller's request stands at the gate; the others, one after the other, queue behind it."""
        return [await self.joined("confirm", each) for each in ids]

    async def joined(self, method, *arguments, **named):
        """A call, when its caller is in the queue or at the gate."""
        before = COUNTED["joins"]
        task = self.call(method, *arguments, **named)
        await until(lambda: COUNTED["joins"] > before)
        return task

    async def _sleep(self, seconds):
        self.slept.append(seconds)


COUNTED = {"joins": 0}


async def until(condition):
    """Give way until it is so."""
    async with asyncio.timeout(HANGING_SECONDS):
        while not condition():  # noqa: ASYNC110 - threads and tasks are watched alike
            await asyncio.sleep(0)


async def ends(*calls) -> list[Any]:
    """Answers and errors, as values."""
    async with asyncio.timeout(HANGING_SECONDS):
        return await asyncio.gather(*calls, return_exceptions=True)


async def answers(*calls) -> list[Any]:
    """Answers; the first error is raised. Whoever is forgotten makes the test fail, and not hang."""
    async with asyncio.timeout(HANGING_SECONDS):
        return await asyncio.gather(*calls)


@pytest.fixture(autouse=True)
def _joins_are_counted(monkeypatch):
    join = Gathering.join

    def counted(self, part):
        parcels = join(self, part)
        COUNTED["joins"] += 1
        return parcels

    monkeypatch.setattr(Gathering, "join", counted)


@pytest.fixture(autouse=True)
def _nobody_overtakes(monkeypatch):
    # Or it would hide that somebody was forgotten.
    monkeypatch.setattr(blocking_gathering, "OVERTAKE_SECONDS", 1000)
    monkeypatch.setattr(async_gathering, "OVERTAKE_SECONDS", 1000)


@pytest.fixture(autouse=True)
def _threads_take_turns_often():
    # So that whoever waits is not waited for, and more orders of things are met.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=[Client, AsyncClient], ids=["threads", "tasks"])
async def crowd(request):
    with ThreadPoolExecutor(80) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        made = Crowd(request.param)
        yield made
        made.gate.open()


def batch(*ids, verb="confirm"):
    return (verb, list(ids))


def single(message_id, verb="confirm"):
    return (f"1 {verb}", [message_id])


async def test_calls_one_after_the_other_go_as_single_calls(crowd):
    crowd.gate.open()

    for each in ("a", "b"):
        assert (await crowd.call("confirm", each)).status == f"of {each}"

    assert crowd.service.asked == [single("a"), single("b")]


async def test_many_callers_at_once_need_two_requests_and_each_gets_its_own_answer(crowd):
    ids = [f"{number}" for number in range(64)]
    calls = await crowd.confirm_while_one_is_under_way(*ids)

    crowd.gate.open()

    assert [answer.status for answer in await answers(*calls)] == [f"of {each}" for each in ids]
    assert crowd.service.asked == [single("0"), batch(*ids[1:])]


async def test_verbs_do_not_wait_for_each_other(crowd):
    calls = [
        await crowd.joined("prepare", "t", 1, id="a"),
        await crowd.joined("confirm", "b"),
        await crowd.joined("cancel", "c", "why"),
        await crowd.joined("complete", "d", "billing"),
        await crowd.joined("fail", "e", "why", "billing"),
    ]
    await until(lambda: crowd.gate.arrivals == 5)

    crowd.gate.open()
    await answers(*calls)

    assert sorted(crowd.service.asked) == [
        single("c", "cancel"),
        single("d", "complete"),
        single("b", "confirm"),
        single("e", "fail"),
        single("a", "prepare"),
    ]


async def test_every_verb_gathers_with_what_else_its_callers_say(crowd):
    said = {
        "prepare": lambda each: (("t", {"n": 1}), {"id": each, "key": each}),
        "cancel": lambda each: ((each, f"why {each}"), {}),
        "complete": lambda each: ((each, f"by {each}"), {}),
        "fail": lambda each: ((each, f"why {each}", f"by {each}"), {}),
    }
    for verb, of in said.items():
        calls = [await crowd.joined(verb, *of(each)[0], **of(each)[1]) for each in ("a", "b", "c")]
        crowd.gate.open(2)
        await answers(*calls)

    bodies = [request.body for request in crowd.service.requests]
    assert bodies[1] == (
        b'{"items":[{"topic":"t","id":"b","payload":{"n":1},"key":"b"},{"topic":"t","id":"c","payload":{"n":1},"key":"c"}]}'
    )
    assert bodies[3] == b'{"items":[{"id":"b","reason":"why b"},{"id":"c","reason":"why c"}]}'
    assert bodies[5] == b'{"items":[{"id":"b","subscription":"by b"},{"id":"c","subscription":"by c"}]}'
    assert bodies[7] == (
        b'{"items":[{"id":"b","reason":"why b","subscription":"by b"},'
        b'{"id":"c","reason":"why c","subscription":"by c"}]}'
    )


async def test_lists_and_single_calls_share_a_request_and_each_list_keeps_its_order(crowd):
    calls = [
        await crowd.joined("prepare_batch", [new_message("t", 1, {"id": each}) for each in "ab"]) for _ in range(3)
    ]
    calls.append(await crowd.joined("prepare", "t", 1, id="z"))
    crowd.service.refusals["b"] = "rolled_back"

    crowd.gate.open()
    *lists, last = await answers(*calls)

    assert crowd.service.asked == [batch("a", "b", verb="prepare"), batch("a", "b", "a", "b", "z", verb="prepare")]
    assert [[(each.id, each.ok) for each in one] for one in lists] == [[("a", True), ("b", False)]] * 3
    assert last.status == "of z"


async def test_statuses_are_asked_for_together(crowd):
    calls = [await crowd.joined("status_batch", [each]) for each in "abc"]

    crowd.gate.open()
    await answers(*calls)

    assert crowd.service.asked == [batch("a", verb="status"), batch("b", "c", verb="status")]


@pytest.mark.parametrize(
    ("code", "kind"), [("rolled_back", RolledBack), ("unknown_message", NotFound), ("invalid_field", Invalid)]
)
async def test_a_refused_item_is_the_error_of_its_caller_alone_and_the_one_of_the_single_call(crowd, code, kind):
    crowd.service.refusals = {"a": code, "c": code}
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")

    crowd.gate.open()
    alone, good, gathered, other = await ends(*calls)

    assert (good.status, other.status) == ("of b", "of d")
    assert type(alone) is type(gathered) is kind
    assert (gathered.step, gathered.safe_to_ignore, gathered.code) == ("confirm", False, code)
    assert len(crowd.service.requests) == 2


async def test_an_item_that_cannot_be_done_now_is_repeated_for_its_caller_alone(crowd):
    crowd.service.refusals = {"b": "busy"}
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(2)
    await answers(calls[0], calls[2])
    await until(lambda: crowd.gate.arrivals == 3)

    crowd.service.refusals = {}
    crowd.gate.open()

    assert (await calls[1]).status == "of b"
    assert crowd.service.asked == [single("a"), batch("b", "c"), single("b")]
    assert len(crowd.slept) == 1


async def test_an_item_that_can_never_be_done_ends_after_as_many_repeats_as_a_call(crowd):
    crowd.service.refusals = {"b": "busy"}
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c")

    crowd.gate.open()
    _, busy, good = await ends(*calls)

    assert good.status == "of c"
    assert (type(busy), busy.safe_to_ignore) == (Unavailable, True)
    assert len(crowd.slept) <= 2 * 5


@pytest.mark.parametrize("failure", [LOST, refused(503, "overloaded"), Response(502, {}, b"")])
async def test_a_shared_request_that_failed_is_repeated_with_the_same_bytes(crowd, failure):
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(1)
    await calls[0]
    crowd.service.whole = [failure, failure]

    crowd.gate.open()
    await answers(*calls)

    assert crowd.service.asked == [single("a"), *[batch("b", "c")] * 3]
    assert len({request.body for request in crowd.service.requests[1:]}) == 1


async def test_a_shared_request_that_keeps_failing_is_everybodys_error(crowd):
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(1)
    await calls[0]
    crowd.service.whole = [LOST] * 6

    crowd.gate.open()
    first, second = await ends(*calls[1:])

    assert first is not second
    for error in (first, second):
        assert (type(error), error.step, error.safe_to_ignore, error.perhaps_received) == (
            Unreachable,
            "confirm",
            True,
            True,
        )
    assert len(crowd.service.requests) == 7


@pytest.mark.parametrize(
    "whole", [TOO_LARGE, refused(400, "malformed_json"), Response(413, {}, b"<html>"), Response(500, {}, b"")]
)
async def test_a_refusal_of_the_whole_hurts_nobody_but_the_one_who_caused_it(crowd, whole):
    crowd.service.refusals = {"c": "invalid_field"}
    calls = [
        *await crowd.confirm_while_one_is_under_way("a", "b", "c"),
        await crowd.joined("confirm_batch", ["d", "e"]),
    ]
    crowd.gate.open(1)
    await calls[0]
    crowd.service.whole = [whole]

    crowd.gate.open()
    good, bad, both = await ends(*calls[1:])

    assert good.status == "of b"
    assert type(bad) is Invalid
    assert [each.status for each in both] == ["of d", "of e"]
    assert crowd.service.asked[:2] == [single("a"), batch("b", "c", "d", "e")]
    assert sorted(crowd.service.asked[2:]) == [single("b"), single("c"), batch("d", "e")]


async def test_a_key_that_is_refused_is_refused_for_all_without_asking_for_each(crowd):
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c")
    crowd.gate.open(1)
    await calls[0]
    crowd.service.whole = [refused(401, "unauthorized")]

    crowd.gate.open()
    errors = await ends(*calls[1:])

    assert [type(each) for each in errors] == [Denied, Denied]
    assert len(crowd.service.requests) == 2


async def test_a_message_too_large_for_any_batch_goes_by_itself(crowd, monkeypatch):
    monkeypatch.setattr("aftercommit.sdk.loads.BATCH_BYTES_MAX", 200)
    first = await crowd.joined("prepare", "t", 1, id="a")
    large = crowd.call("prepare", "t", "x" * 200, id="b")
    await until(lambda: crowd.gate.arrivals == 2)

    crowd.gate.open()
    await answers(first, large)

    assert sorted(crowd.service.asked) == [single("a", "prepare"), single("b", "prepare")]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_without_batching_every_call_goes_by_itself(kind):
    crowd = Crowd(kind, batching=False)
    calls = [crowd.call("confirm", each) for each in "abc"]
    await until(lambda: crowd.gate.arrivals == 3)

    crowd.gate.open()
    await answers(*calls)

    assert sorted(crowd.service.asked) == [single("a"), single("b"), single("c")]


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


async def test_a_mistake_of_the_transport_reaches_everybody_and_leaves_nobody_waiting(crowd):
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")
    crowd.service.whole = [RuntimeError("a mistake") for _ in range(4)]

    crowd.gate.open()
    errors = await ends(*calls)

    assert [str(each) for each in errors] == ["a mistake"] * 4
    crowd.service.whole = []
    assert (await crowd.call("confirm", "e")).status == "of e"


async def test_of_those_who_wait_the_one_with_the_most_time_left_sends(monkeypatch):
    crowd = Crowd(Client)
    senders = []
    send = crowd.gate.send

    def noticed(request):
        senders.append(threading.get_ident())
        return send(request)

    monkeypatch.setattr(crowd.gate, "send", noticed)
    confirm = crowd.client.confirm
    monkeypatch.setattr(crowd.client, "confirm", lambda each: (threading.get_ident(), confirm(each).status))
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")

    crowd.gate.open()
    (first, _), _, _, (last, status) = await answers(*calls)

    assert status == "of d"
    assert senders == [first, last]


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


def test_threads_that_all_call_at_once_are_answered_each_with_its_own_whatever_goes_wrong():
    service = MemoryService()
    service.refusals = {f"{caller}-{number}": "rolled_back" for caller in range(16) for number in range(0, 50, 7)}
    service.whole = [LOST, TOO_LARGE, Response(502, {}, b"")] * 5
    gate = Gate(service)
    gate.open()
    client = Client(transport=gate, sleep=lambda seconds: None)
    wrong = []

    def confirm_many(caller):
        for number in range(50):
            own = f"{caller}-{number}"
            try:
                outcome = client.confirm(own).status
            except (RolledBack, Invalid) as error:
                outcome = error.code
            expected = ("rolled_back",) if own in service.refusals else (f"of {own}", "payload_too_large")
            if outcome not in (*expected, "payload_too_large"):
                wrong.append((own, outcome))

    threads = [threading.Thread(target=confirm_many, args=(caller,)) for caller in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
