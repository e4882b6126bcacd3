"""Who goes with whom, and who gets what: the core of natural batching, without threads, tasks or a network."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercommit.sdk import Denied, Invalid, NotFound, Unavailable, Unexpected, Unreachable
from aftercommit.sdk.clients import loads
from aftercommit.sdk.clients.gathering import Apart, Gathering, Parcel, Part
from aftercommit.sdk.clients.loads import Load, joined
from aftercommit.wire import BatchAnswer, ItemResult, MessageStatus


def part(*ids, deadline=100.0):
    items = [msgspec.json.encode({"id": each}) for each in ids]
    if len(ids) == 1:
        return Part(loads.confirm(ids[0]), deadline)
    return Part(Load("confirm", items, lambda: joined("confirm", items)), deadline)


def ids_in(parcel):
    return [[msgspec.json.decode(item)["id"] for item in each.load.items] for each in parcel.parts]


def settle(parcel):
    """Answer a parcel as a service does that calls every status by its id."""
    call = parcel.call()
    if call.answer is MessageStatus:
        [[only]] = ids_in(parcel)
        parcel.settle(call, MessageStatus(id=only, status=f"of {only}"))
        return
    ids = [each["id"] for each in msgspec.json.decode(call.body)["items"]]
    parcel.settle(call, BatchAnswer(results=[ItemResult(id=each, status=f"of {each}") for each in ids]))


def test_who_finds_nothing_under_way_goes_at_once_by_itself():
    [parcel] = Gathering().join(part("a"))

    assert parcel.call().path == "/v1/messages/a/confirm"


def test_a_list_that_goes_by_itself_is_a_batch():
    [parcel] = Gathering().join(part("a", "b"))

    assert parcel.call().path == "/v1/batch/confirm"
    assert parcel.call().items == 2


def test_those_who_come_meanwhile_go_together_in_the_order_they_came():
    gathering = Gathering()
    gathering.join(part("a"))
    assert [gathering.join(each) for each in (part("b"), part("c", "d"), part("e"))] == [[], [], []]

    [parcel] = gathering.returned()

    assert ids_in(parcel) == [["b"], ["c", "d"], ["e"]]
    assert parcel.call().path == "/v1/batch/confirm"
    assert gathering.returned() == []


def test_everybody_gets_the_results_of_what_was_theirs():
    first, second, third = part("a"), part("b", "c"), part("d")
    parcel = Parcel([first, second, third])

    settle(parcel)

    assert [[each.status for each in one.verdict] for one in (first, second, third)] == [
        ["of a"],
        ["of b", "of c"],
        ["of d"],
    ]


def test_what_waits_is_sent_in_one_round_however_many_requests_that_takes():
    gathering = Gathering()
    gathering.join(part("first"))
    for number in range(700):
        gathering.join(part(f"{number}-a", f"{number}-b", f"{number}-c"))

    parcels = gathering.returned()

    assert [sum(map(len, ids_in(each))) for each in parcels] == [999, 999, 102]
    # And only when all of the round are back does the next begin.
    assert gathering.join(part("last")) == []
    assert [gathering.returned() for _ in parcels[1:]] == [[], []]
    assert len(gathering.returned()) == 1


def test_a_request_stays_below_the_size_a_batch_may_have(monkeypatch):
    monkeypatch.setattr(loads, "BATCH_BYTES_MAX", 100)
    gathering = Gathering()
    gathering.join(part("first"))
    for number in range(10):
        gathering.join(part("x" * 20 + str(number)))

    parcels = gathering.returned()

    assert [len(each.parts) for each in parcels] == [2] * 5
    assert all(len(each.call().body) <= 100 for each in parcels)


def test_a_request_has_as_much_time_as_anybody_in_it():
    assert Parcel([part("a", deadline=3), part("b", deadline=5), part("c", deadline=4)]).deadline == 5


def test_who_leaves_before_the_request_went_is_not_in_it():
    gathering = Gathering()
    gathering.join(part("a"))
    leaver = part("b")
    gathering.join(leaver)
    gathering.join(part("c"))

    assert gathering.leave(leaver) is True
    [parcel] = gathering.returned()

    assert ids_in(parcel) == [["c"]]
    assert gathering.leave(leaver) is False


def test_who_leaves_later_is_told_that_it_may_have_been_sent():
    gathering = Gathering()
    only = part("a")
    gathering.join(only)

    assert gathering.leave(only) is False


def test_when_the_sender_gives_up_the_others_in_it_are_the_first_of_the_next():
    gathering = Gathering()
    gathering.join(part("a"))
    sender, gone = part("b"), part("c")
    for each in (sender, gone, part("d"), part("e")):
        gathering.join(each)
    [parcel] = gathering.returned()
    gathering.join(part("f"))
    gathering.leave(gone)

    [again] = gathering.forsaken(parcel, sender)

    assert ids_in(again) == [["d"], ["e"], ["f"]]


def test_who_was_forsaken_and_waits_again_may_leave_like_anybody():
    gathering = Gathering()
    gathering.join(part("a"))
    sender, leaver = part("b"), part("c")
    gathering.join(sender)
    gathering.join(leaver)
    [parcel] = gathering.overtake()

    assert gathering.forsaken(parcel, sender) == []
    assert gathering.leave(leaver) is True
    assert gathering.returned() == []


def test_what_waits_behind_a_request_that_takes_too_long_may_overtake_it():
    gathering = Gathering()
    gathering.join(part("a"))
    gathering.join(part("b"))

    [parcel] = gathering.overtake()

    assert ids_in(parcel) == [["b"]]
    # Both are under way now, and the next waits for both.
    assert gathering.join(part("c")) == []
    assert gathering.returned() == []
    assert len(gathering.returned()) == 1


def test_a_request_that_is_lost_holds_nobody_up_for_ever():
    gathering = Gathering()
    gathering.join(part("a"))
    gathering.join(part("b"))

    gathering.lost()
    [parcel] = gathering.join(part("c"))

    assert ids_in(parcel) == [["b"], ["c"]]


SOMEBODYS_FAULT = [Invalid("payload_too_large", "d", status=413), NotFound("x", "d"), Unexpected("d", status=500)]
NOBODYS_FAULT = [
    Denied("unauthorized", "d", status=401),
    Unavailable("busy", "d", status=503),
    Unreachable("d", perhaps_received=True, repeatable=True),
]


@pytest.mark.parametrize("error", SOMEBODYS_FAULT)
def test_a_refusal_that_may_be_one_items_fault_sends_everybody_apart(error):
    parts = [part("a"), part("b", "c")]

    Parcel(parts).fail(error)

    assert [each.verdict for each in parts] == [Apart.APART, Apart.APART]


@pytest.mark.parametrize("error", SOMEBODYS_FAULT)
def test_who_was_alone_in_it_has_nobody_else_to_blame(error):
    only = part("a", "b")

    Parcel([only]).fail(error)

    assert type(only.verdict) is type(error)
    assert str(only.verdict) == str(error)


@pytest.mark.parametrize("error", NOBODYS_FAULT)
def test_an_error_that_is_the_same_for_all_reaches_all_each_as_its_own(error):
    error.__cause__ = OSError("why")
    parts = [part("a"), part("b", "c")]

    Parcel(parts).fail(error)

    first, second = (each.verdict for each in parts)
    assert first is not second
    for each in (first, second):
        assert (type(each), str(each), each.__dict__, each.__cause__) == (
            type(error),
            str(error),
            error.__dict__,
            error.__cause__,
        )


def test_an_answer_with_a_result_missing_settles_nobody():
    parts = [part("a"), part("b")]
    parcel = Parcel(parts)

    with pytest.raises(Unexpected, match="1 results for 2 items") as raised:
        parcel.settle(parcel.call(), BatchAnswer(results=[ItemResult(id="a", status="x")]))

    assert raised.value.step == "confirm"
    assert [each.verdict for each in parts] == [None, None]


STEPS = st.lists(st.sampled_from(["join", "join", "join", "return", "leave", "overtake", "forsake"]), max_size=60)


@given(steps=STEPS, sizes=st.lists(st.integers(1, 400), min_size=60, max_size=60), chance=st.randoms())
def test_whatever_happens_everybody_who_stays_is_sent_and_gets_its_own(steps, sizes, chance):
    gathering = Gathering()
    under_way: list[Parcel] = []
    everybody: list[Part] = []
    gone: set[Part] = set()

    def went(parcels):
        for parcel in parcels:
            assert sum(map(len, ids_in(parcel))) <= 1000
            assert gone.isdisjoint(parcel.parts)
        under_way.extend(parcels)

    for number, step in enumerate(steps):
        if step == "join":
            everybody.append(part(*(f"{number}-{item}" for item in range(sizes[number]))))
            went(gathering.join(everybody[-1]))
        elif step == "leave" and everybody:
            leaver = chance.choice(everybody)
            if leaver.verdict is None:
                gone.add(leaver)
                gathering.leave(leaver)
        elif step == "overtake":
            went(gathering.overtake())
        elif step == "forsake" and under_way:
            parcel = under_way.pop(chance.randrange(len(under_way)))
            gone.add(parcel.parts[0])
            went(gathering.forsaken(parcel, parcel.parts[0]))
        elif step == "return" and under_way:
            settle(under_way.pop(chance.randrange(len(under_way))))
            went(gathering.returned())
    while under_way:
        settle(under_way.pop(0))
        went(gathering.returned())

    for each in everybody:
        if each not in gone:
            assert isinstance(each.verdict, list)
            assert [result.status for result in each.verdict] == [f"of {own}" for own in ids_in(Parcel([each]))[0]]
