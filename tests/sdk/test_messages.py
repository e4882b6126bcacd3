"""A payload arrives as it was given."""

import base64
import dataclasses
from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from aftercommit.sdk import PulledMessage, new_id, new_message

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def pulled(message) -> PulledMessage:
    """What a consumer would get of it: the payload's bytes as they stood in the request."""
    request = msgspec.json.encode(message)
    fields = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
    payload = {name: fields[name] for name in ("payload", "payload_base64") if name in fields}
    document = {"id": message.id, "topic": message.topic, "key": None, "headers": {}, "attempt": 1, "sent_at": None}
    return msgspec.json.decode(
        msgspec.json.encode({**document, "content_type": "x", **payload}),
        type=PulledMessage,
    )


@given(JSON)
def test_a_json_value_comes_back_as_it_was(value):
    assert pulled(new_message("t", value)).json() == value


@given(st.binary())
def test_bytes_come_back_as_they_were(value):
    assert pulled(new_message("t", value)).body == value
    assert pulled(new_message("t", options={"payload_bytes": bytearray(value)})).body == value


@given(JSON, st.sampled_from([None, 1, 4]))
def test_json_that_is_already_encoded_keeps_its_bytes(value, indent):
    encoded = msgspec.json.format(msgspec.json.encode(value), indent=indent or 0)

    assert pulled(new_message("t", msgspec.Raw(encoded))).body == encoded


def test_null_is_a_payload():
    assert pulled(new_message("t", None)).body == b"null"


def test_objects_are_encoded_and_decoded_by_their_type():
    @dataclasses.dataclass
    class Order:
        number: int
        lines: list[str]

    order = Order(42, ["a"])

    assert pulled(new_message("t", order)).json(type=Order) == order


@pytest.mark.parametrize(
    ("payload", "options"), [(UNSET, {}), (1, {"payload_bytes": b"1"}), (b"1", {"payload_bytes": b"1"})]
)
def test_exactly_one_form_of_payload_is_given(payload, options):
    with pytest.raises(TypeError, match="payload_bytes"):
        new_message("t", payload, options)


def test_what_is_no_json_is_refused_before_anything_is_sent():
    with pytest.raises(TypeError):
        new_message("t", object())


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        new_message("t", 1, {"deliver_at": datetime(2026, 1, 1)})  # noqa: DTZ001 - that is the point


def test_a_time_given_as_text_is_sent_as_it_is():
    assert new_message("t", 1, {"deliver_at": "2026-01-01T00:00:00+01:00"}).deliver_at == "2026-01-01T00:00:00+01:00"


def test_ids_made_one_after_the_other_differ_and_ascend():
    ids = [new_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert ids == sorted(ids)


def test_a_payload_that_is_not_base64_is_said_to_be_unreadable():
    fields: dict[str, object] = {
        "id": "1",
        "topic": "t",
        "key": None,
        "headers": {},
        "content_type": "x",
        "attempt": 1,
        "sent_at": None,
    }
    message = msgspec.convert({**fields, "payload_base64": "*"}, PulledMessage)

    with pytest.raises(msgspec.DecodeError, match="base64"):
        _ = message.body


def test_base64_of_the_wire_is_the_standard_alphabet():
    assert new_message("t", b"\xfb\xff").payload_base64 == base64.b64encode(b"\xfb\xff").decode() == "+/8="
