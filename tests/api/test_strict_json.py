"""Malformed is told apart from wrong, and the field at fault is pointed at."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercommit.api.problems import Rejected
from aftercommit.api.strict_json import Reader
from aftercommit.domain.errors import CallerError, Invalid
from aftercommit.wire import PrepareRequest, TopicRequest

PREPARE = Reader(PrepareRequest)
TOPIC = Reader(TopicRequest)


def payload(text: bytes) -> bytes:
    return b'{"topic":"t","payload":' + text + b"}"


def refusal_of(body: bytes) -> CallerError | None:
    try:
        PREPARE.read(body)
    except CallerError as error:
        return error
    return None


def kept(body: bytes) -> bytes:
    value = PREPARE.read(body).payload
    assert isinstance(value, msgspec.Raw)
    return bytes(value)


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"x",
    b'{"topic":"t"',
    b'{"topic":1',
    b'{"topic":"t",}',
    b'{"topic":"t"} x',
    b"{'topic':'t'}",
    b"\xef\xbb\xbf{}",
    payload(b"NaN"),
    payload(b"Infinity"),
    payload(b"-"),
    payload(b"01"),
    payload(b"tru"),
    payload(b"[1,]"),
    payload(b'"\x00"'),
    payload(b'"\x1f"'),
    payload(b'"a\nb"'),
    payload(b'"\xff"'),
    payload(b'"\xc0\xaf"'),
    payload(b'"\xed\xa0\x80"'),
    payload(b'"\\ud800"'),
    payload(b'"\\udc00 and more"'),
    payload(b'"\\ud83d\\ud83d"'),
    payload(b'"\\x"'),
    payload(b'"\\u12g4"'),
    payload(b'{"\\ud800":1}'),
    b'{"topic":"\xff","payload":1}',
    b'{"topic":"\\ud800","payload":1}',
    b"[" * 200_000,
    b"[" * 200_000 + b"]" * 200_000,
    payload(b"[" * 200_000 + b"]" * 200_000),
    payload(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:40]))
def test_what_is_not_json_is_malformed(body):
    with pytest.raises(Rejected) as caught:
        PREPARE.read(body)

    assert caught.value.code == "malformed_json"
    assert caught.value.pointer is None


WRONG = [
    (PREPARE, b"null", "invalid_field", ""),
    (PREPARE, b"[]", "invalid_field", ""),
    (PREPARE, b'"text"', "invalid_field", ""),
    (PREPARE, b"{}", "missing_field", "/topic"),
    (PREPARE, b'{"topic":1}', "invalid_field", "/topic"),
    (PREPARE, b'{"topic":null}', "invalid_field", "/topic"),
    (PREPARE, b'{"topic":"t","confirmed":"yes"}', "invalid_field", "/confirmed"),
    (PREPARE, b'{"topic":"t","delay_seconds":1e999}', "invalid_field", "/delay_seconds"),
    (PREPARE, b'{"topic":"t","headers":[]}', "invalid_field", "/headers"),
    (PREPARE, b'{"topic":"t","headers":{"a":"b","c/d~e":1}}', "invalid_field", "/headers/c~1d~0e"),
    (PREPARE, b'{"topic":"t","colour":1}', "unknown_field", "/colour"),
    (PREPARE, b'{"topic":"t","a/b~c":1}', "unknown_field", "/a~1b~0c"),
    (PREPARE, b'{"topic":"t","":1}', "unknown_field", "/"),
    (PREPARE, b'{"topic":"t","tick`s":1}', "unknown_field", "/tick`s"),
    (TOPIC, b'{"subscriptions":[{"name":"a"},5]}', "invalid_field", "/subscriptions/1"),
    (TOPIC, b'{"subscriptions":[{"name":1}]}', "invalid_field", "/subscriptions/0/name"),
    (TOPIC, b'{"subscriptions":[{}]}', "missing_field", "/subscriptions/0/name"),
    (TOPIC, b'{"subscriptions":[{"name":"a","x":1}]}', "unknown_field", "/subscriptions/0/x"),
    (TOPIC, b'{"policy":5}', "invalid_field", "/policy"),
]


@pytest.mark.parametrize(("reader", "body", "code", "pointer"), WRONG)
def test_what_is_wrong_is_pointed_at(reader, body, code, pointer):
    with pytest.raises(Invalid) as caught:
        reader.read(body)

    assert (caught.value.code, caught.value.pointer) == (code, pointer)


SOUND = [
    payload(b"null"),
    payload(b"1e999"),
    payload(b"9" * 5000),
    payload(b'"\\ud83d\\ude00 \\u0000 \\\\ud800"'),
    payload('"é 😀 \u2028"'.encode()),
    payload(b'{"x":1,"x":2}'),
    payload(b'{"topic":{"topic":"topic"},"payload":1}'),
    payload(b'" {[ \\" {[ "') + b" \r\n\t",
    payload(b"[" * 32 + b"]" * 32),
    payload(b'["' + b"[{" * 500 + b'\\"[[[["]'),
    payload(b"[[[]],[[]]," + b"[{}]," * 200 + b"1]"),
    b'{"\\u0074opic":"t","payload":{"x":1,"x":2},"key":"\\u00e9"}',
]


@pytest.mark.parametrize("body", SOUND, ids=lambda body: repr(body[:40]))
def test_what_is_sound_is_read(body):
    assert PREPARE.read(body).topic == "t"


def test_a_payload_is_kept_byte_for_byte():
    value = '{"b" : 1.50,  "a":[ 1e2 ], "é":"\\u00e9\\/"}'.encode()

    assert kept(payload(b" " + value + b" ")) == value


@pytest.mark.parametrize(
    "value", [b"[" * 33 + b"]" * 33, b'{"a":' * 33 + b"1" + b"}" * 33, b'[{"a":' * 17 + b"1" + b"}]" * 17]
)
def test_a_payload_may_not_nest_deeper_than_32(value):
    with pytest.raises(Invalid) as caught:
        PREPARE.read(payload(value))

    assert (caught.value.code, caught.value.pointer) == ("payload_too_deep", "/payload")


@pytest.mark.parametrize(
    "body",
    [
        b'{"topic":"a","topic":"t","payload":1}',
        b'{"topic":"t","payload":{"topic":1},"payload":2}',
        b'{"topic":"t","payload":"\\"topic\\"","key":"topic","topic":"t"}',
        b'{"topic":"t","\\u0074opic":"t","payload":1}',
        b'{"\\u006bey":"a","topic":"t","key":"b","payload":1}',
    ],
)
def test_a_key_may_not_stand_twice_in_a_request(body):
    with pytest.raises(Rejected) as caught:
        PREPARE.read(body)

    assert caught.value.code == "duplicate_key"


@given(st.binary())
def test_any_bytes_are_read_or_refused(body):
    error = refusal_of(body)

    assert error is None or error.code in {"malformed_json", "invalid_field", "missing_field", "unknown_field"}


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_any_json_value_is_a_payload(value):
    encoded = msgspec.json.encode(value)

    assert kept(payload(encoded)) == encoded


@given(st.dictionaries(st.sampled_from(["topic", "key", "payload", "x", "headers", "id"]), JSON_VALUES))
def test_any_object_is_read_or_its_field_is_pointed_at(value):
    error = refusal_of(msgspec.json.encode(value))

    assert error is None or (isinstance(error, Invalid) and (error.pointer or "").startswith("/"))


def test_a_number_no_float_can_hold_beside_a_wrong_header_is_wrong_and_not_our_fault():
    error = refusal_of(b'{"topic":"t","payload":1e999,"headers":{"a":1}}')

    assert isinstance(error, Invalid)
    assert error.pointer == "/headers"


def test_a_header_that_stands_twice_is_refused():
    error = refusal_of(b'{"topic":"t","payload":1,"headers":{"a":"1","\\u0061":"2"}}')

    assert isinstance(error, Rejected)
    assert (error.code, error.pointer) == ("duplicate_key", "/headers/a")
