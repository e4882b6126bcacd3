"""Whose error it is when an item, or a whole request, fails."""

import pytest

from aftercommit.sdk import (
    Denied,
    Invalid,
    NotFound,
    RolledBack,
    Unavailable,
    Unreachable,
)
from aftercommit.sdk.clients.answers import Response
from tests.sdk.answering import refused
from tests.sdk.gathering.crowd import LOST, TOO_LARGE, answers, batch, ends, single, until


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


async def test_a_mistake_of_the_transport_reaches_everybody_and_leaves_nobody_waiting(crowd):
    calls = await crowd.confirm_while_one_is_under_way("a", "b", "c", "d")
    crowd.service.whole = [RuntimeError("a mistake") for _ in range(4)]

    crowd.gate.open()
    errors = await ends(*calls)

    assert [str(each) for each in errors] == ["a mistake"] * 4
    crowd.service.whole = []
    assert (await crowd.call("confirm", "e")).status == "of e"
