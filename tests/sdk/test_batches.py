"""Batches of any size, and errors as values."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercommit import wire
from aftercommit.sdk import Client, Conflict, Denied, Invalid, NotFound, Refused, RolledBack, Unavailable, new_message
from aftercommit.sdk.clients import batches, loads
from aftercommit.sdk.transports.port import ScriptedTransport
from tests.sdk.answering import ID, OTHER_ID, answered


def echo(request):
    """Answer every item with its id."""
    items = msgspec.json.decode(request.body)["items"]
    return answered({"results": [{"id": item["id"], "status": "done"} for item in items]})


def test_a_long_list_goes_in_several_requests_and_comes_back_in_order():
    transport = ScriptedTransport([echo])
    ids = [f"{number:04}" for number in range(2500)]

    results = Client(transport=transport).confirm_batch(ids)

    assert [result.id for result in results] == ids
    assert [len(msgspec.json.decode(request.body)["items"]) for request in transport.requests] == [1000, 1000, 500]


def test_an_empty_list_sends_nothing():
    assert Client(transport=ScriptedTransport()).confirm_batch([]) == []


def test_large_items_go_in_requests_below_the_limit():
    transport = ScriptedTransport([echo])
    messages = [new_message("t", "x" * 250_000) for _ in range(100)]

    results = Client(transport=transport).prepare_batch(messages)

    assert [result.id for result in results] == [message.id for message in messages]
    assert len(transport.requests) == 4
    assert all(len(request.body) <= loads.BATCH_BYTES_MAX for request in transport.requests)


def test_a_list_with_an_item_that_can_never_be_sent_is_refused_as_a_whole():
    messages = [new_message("t", 1), new_message("t", "x" * loads.BATCH_BYTES_MAX)]

    with pytest.raises(Invalid, match="Item 1") as raised:
        Client(transport=ScriptedTransport()).prepare_batch(messages)

    assert raised.value.pointer == "/items/1"


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 12), st.integers(120, 200))
def test_however_it_is_split_nothing_is_lost_or_too_large(sizes, items_max, bytes_max):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loads, "BATCH_ITEMS_MAX", items_max)
        patch.setattr(loads, "BATCH_BYTES_MAX", bytes_max)
        ids = ["x" * size for size in sizes]

        parts = [load.alone() for load in batches.confirm(ids)]

    sent = [msgspec.json.decode(part.body, type=wire.BatchRequest) for part in parts]
    assert [msgspec.json.decode(item)["id"] for request in sent for item in request.items] == ids
    assert all(len(part.body) <= bytes_max and 0 < part.items <= items_max for part in parts)


ITEM_ERRORS = [
    ({"code": "rolled_back", "detail": "d", "status": "rolled_back"}, RolledBack),
    ({"code": "replayed", "detail": "d", "status": "sent"}, Conflict),
    ({"code": "unknown_message", "detail": "d"}, NotFound),
    ({"code": "forbidden", "detail": "d"}, Denied),
    ({"code": "invalid_delay", "detail": "d"}, Invalid),
    ({"code": "busy", "detail": "d"}, Unavailable),
]


@pytest.mark.parametrize(("error", "kind"), ITEM_ERRORS)
def test_a_refused_item_is_a_value_with_the_error_of_the_single_call(error, kind):
    answer = answered({"results": [{"id": ID, "status": "done"}, {"id": OTHER_ID, "error": error}]})

    good, bad = Client(transport=ScriptedTransport([answer])).confirm_batch([ID, OTHER_ID])

    assert good.ok
    assert good.unwrap() == wire.MessageStatus(id=ID, status="done")
    assert not bad.ok
    assert type(bad.error) is kind
    assert getattr(bad.error, "message_status", None) == error.get("status")
    with pytest.raises((Refused, Unavailable)) as raised:
        bad.unwrap()
    assert raised.value is bad.error


def test_a_fail_without_any_reason_is_refused_before_it_is_sent():
    with pytest.raises(TypeError, match="reason"):
        Client(transport=ScriptedTransport()).fail_batch([ID])


def test_items_may_carry_their_own_reasons_among_plain_ids():
    transport = ScriptedTransport([echo])

    Client(transport=transport).fail_batch([ID, wire.FailItem(id=OTHER_ID, reason="own")], "common", "billing")

    assert msgspec.json.decode(transport.requests[0].body)["items"] == [
        {"id": ID, "reason": "common", "subscription": "billing"},
        {"id": OTHER_ID, "reason": "own"},
    ]
