"""Who shares a request with whom, and who gets which answer: threads and tasks of one client."""

import threading

import pytest

from aftercommit.sdk import (
    AsyncClient,
    Client,
    Invalid,
    RolledBack,
    new_message,
)
from aftercommit.sdk.clients.answers import Response
from tests.sdk.answering import Gate, MemoryService
from tests.sdk.gathering.crowd import LOST, TOO_LARGE, Crowd, answers, batch, single, until


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


async def test_a_message_too_large_for_any_batch_goes_by_itself(crowd, monkeypatch):
    monkeypatch.setattr("aftercommit.sdk.clients.loads.BATCH_BYTES_MAX", 200)
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
