"""Repeats: when, how often, how long, and that they are the same bytes."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercommit.sdk import AsyncClient, Client, NotFound, Unavailable, Unreachable
from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.calls import confirm
from aftercommit.sdk.clients.exchange import Line, NoAnswer, Wait
from aftercommit.sdk.transports.port import AsyncScriptedTransport, ScriptedTransport
from tests.sdk.answering import ID, STATUS, Sleeper, answered, refused

LOST = NoAnswer("the connection was lost", perhaps_received=True)
REFUSED = NoAnswer("connection refused", perhaps_received=False)
BUSY = refused(503, "busy")


def client(script, sleeper, chance=1.0, **options):
    transport = ScriptedTransport(script)
    made = Client(transport=transport, sleep=sleeper.sleep, clock=sleeper.clock, chance=lambda: chance, **options)
    return made, transport


@pytest.mark.parametrize("failure", [LOST, REFUSED, BUSY, refused(429, "rate_limited"), Response(502, {}, b"")])
def test_a_call_is_repeated_with_the_same_bytes_until_it_is_answered(failure):
    under_test, transport = client([failure, failure, STATUS], Sleeper())

    answer = under_test.prepare("t", {"a": 1})

    assert answer.status == "pending_confirmation"
    assert len({request.body for request in transport.requests}) == 1
    assert len(transport.requests) == 3


def test_a_prepare_without_an_id_gets_one_so_that_its_repeat_is_the_same_message():
    under_test, transport = client([LOST, STATUS, STATUS], Sleeper())

    under_test.prepare("t", 1)
    under_test.prepare("t", 1)

    ids = [msgspec.json.decode(request.body)["id"] for request in transport.requests]
    assert ids[0] == ids[1] != ids[2]
    assert uuid.UUID(ids[0]).version == 7
    assert ids[0] == ids[0].lower()


def test_the_pauses_double_up_to_five_seconds():
    sleeper = Sleeper()
    under_test, _ = client([BUSY] * 8 + [STATUS], sleeper, timeout_seconds=60, retries_max=8)

    under_test.confirm(ID)

    assert sleeper.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_chance_shortens_a_pause_by_up_to_half():
    sleeper = Sleeper()
    under_test, _ = client([BUSY, STATUS], sleeper, chance=0.0)

    under_test.confirm(ID)

    assert sleeper.slept == pytest.approx([0.05])


def test_the_service_is_not_asked_again_before_it_wants_to_be():
    sleeper = Sleeper()
    under_test, _ = client([refused(429, "rate_limited", {"retry-after": "3"}), STATUS], sleeper, chance=0.5)

    under_test.confirm(ID)

    assert sleeper.slept == pytest.approx([3.3])


def test_a_service_that_asks_for_more_time_than_there_is_ends_the_call_at_once():
    sleeper = Sleeper()
    under_test, _ = client([refused(503, "overloaded", {"retry-after": "60"})], sleeper)

    with pytest.raises(Unavailable):
        under_test.confirm(ID)

    assert sleeper.slept == []


def test_the_number_of_repeats_is_bounded():
    under_test, transport = client([BUSY] * 4, Sleeper(), retries_max=3)

    with pytest.raises(Unavailable):
        under_test.confirm(ID)

    assert len(transport.requests) == 4


def test_the_time_of_all_repeats_together_is_bounded():
    sleeper = Sleeper()
    under_test, _ = client([LOST] * 100, sleeper, timeout_seconds=2, retries_max=99)

    with pytest.raises(Unreachable):
        under_test.confirm(ID)

    assert sleeper.now - 1000 < 2


def test_each_repeat_may_take_only_what_is_left_of_the_time():
    sleeper = Sleeper()
    under_test, transport = client([BUSY, STATUS], sleeper, timeout_seconds=2)

    under_test.confirm(ID)

    assert [request.timeout_seconds for request in transport.requests] == pytest.approx([2.0, 1.9])


def test_a_pull_may_wait_before_its_time_begins():
    under_test, transport = client([answered({"messages": []})], Sleeper(), timeout_seconds=2)

    under_test.pull("t", "s", wait_seconds=30)

    assert transport.requests[0].timeout_seconds == pytest.approx(32)


def test_a_refusal_is_not_repeated():
    under_test, transport = client([refused(404, "unknown_message")], Sleeper())

    with pytest.raises(NotFound):
        under_test.confirm(ID)

    assert len(transport.requests) == 1


def test_an_unreachable_service_is_named_with_what_may_be_done():
    under_test, _ = client([REFUSED], Sleeper(), retries_max=0)

    with pytest.raises(Unreachable) as raised:
        under_test.confirm(ID)

    assert (raised.value.repeatable, raised.value.perhaps_received) == (True, False)
    assert str(raised.value) == (
        f"No answer to POST /v1/messages/{ID}/confirm from http://127.0.0.1:8340: connection refused."
        " It is safe to repeat. The confirm call failed, which is safe to ignore: check-back will settle it."
    )


@pytest.mark.parametrize("failure", [LOST, Response(504, {}, b"")])
def test_a_secret_that_may_have_been_made_is_not_made_again(failure):
    under_test, transport = client([failure], Sleeper())

    with pytest.raises((Unreachable, Unavailable)) as raised:
        under_test.add_secret("a")

    assert len(transport.requests) == 1
    assert not getattr(raised.value, "repeatable", False)


@pytest.mark.parametrize("failure", [REFUSED, BUSY])
def test_a_secret_that_cannot_have_been_made_is_asked_for_again(failure):
    made = answered({"id": "1", "created_at": "x", "secret": "whsec_x"})
    under_test, transport = client([failure, made], Sleeper())

    assert under_test.add_secret("a").secret == "whsec_x"
    assert len(transport.requests) == 2


async def test_the_awaitable_client_repeats_likewise():
    sleeper = Sleeper()

    async def sleep(seconds):
        sleeper.sleep(seconds)

    transport = AsyncScriptedTransport([LOST, BUSY, STATUS])
    under_test = AsyncClient(transport=transport, sleep=sleep, clock=sleeper.clock, chance=lambda: 1.0)

    await under_test.confirm(ID)

    assert sleeper.slept == pytest.approx([0.1, 0.2])


async def test_the_awaitable_client_is_not_ready_when_nobody_answers():
    assert await AsyncClient(transport=AsyncScriptedTransport([REFUSED])).ready() is False


FAILURES = st.sampled_from([LOST, REFUSED, BUSY, refused(503, "overloaded", {"retry-after": "2"})])


@given(
    failures=st.lists(FAILURES, min_size=1, max_size=40),
    chance=st.floats(0, 1, exclude_max=True),
    timeout_seconds=st.floats(0.1, 30),
)
def test_whatever_fails_a_call_ends_within_its_time_and_number(failures, chance, timeout_seconds):
    sleeper = Sleeper()
    line = Line(timeout_seconds=timeout_seconds, retries_max=9, clock=sleeper.clock, chance=lambda: chance)
    exchange = line.begin(confirm(ID))
    repeats = 0

    for failure in failures:
        try:
            step = exchange.next(failure)
        except (Unavailable, Unreachable):
            break
        assert isinstance(step, Wait)
        sleeper.sleep(step.seconds)
        repeats += 1

    assert repeats <= 9
    assert sleeper.now - 1000 < timeout_seconds
