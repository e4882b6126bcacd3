"""Bodies that are malformed, wrong, huge or hostile: a problem with its fields every time, and never a 5xx."""

import json
from typing import Any

import pytest

from tests.e2e.caller import Caller, pulled_payloads, raw_payload
from tests.e2e.heartbeat import undisturbed
from tests.e2e.names import new_id
from tests.e2e.node import Node

MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "a blank": b"  ",
    "truncated": b'{"topic": "t", "payload": {"n": 1',
    "a bare word": b"topic",
    "single quotes": b"{'topic': 't', 'payload': 1}",
    "trailing comma": b'{"topic": "t", "payload": 1,}',
    "comment": b'{"topic": "t", /* why */ "payload": 1}',
    "two values": b'{"topic": "t", "payload": 1} {}',
    "NaN": b'{"topic": "t", "payload": NaN}',
    "Infinity": b'{"topic": "t", "payload": [-Infinity]}',
    "NaN as delay": b'{"topic": "t", "payload": 1, "delay_seconds": NaN}',
    "raw control character": b'{"topic": "t", "payload": "a\x00b"}',
    "raw line break": b'{"topic": "t", "payload": "a\nb"}',
    "not utf-8": b'{"topic": "t", "payload": "\xff"}',
    "latin-1": '{"topic": "t", "payload": "ä"}'.encode("latin-1"),
    "utf-16": '{"topic": "t", "payload": 1}'.encode("utf-16"),
    "encoded surrogate": b'{"topic": "t", "payload": "\xed\xa0\x80"}',
    "overlong": b'{"topic": "t", "payload": "\xc0\xaf"}',
    "bad escape": b'{"topic": "t", "payload": "\\x41"}',
    "half an escape": b'{"topic": "t", "payload": "\\u12"}',
    "leading zero": b'{"topic": "t", "payload": 01}',
    "plus": b'{"topic": "t", "payload": +1}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json_is_400(orders: Caller, name: str) -> None:
    orders.post("/v1/messages", MALFORMED[name]).refused(400)


@pytest.mark.parametrize("name", ["truncated", "NaN", "not utf-8", "two values"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages/{id}/cancel",
        "/v1/messages/{id}/fail",
        "/v1/batch/prepare",
        "/v1/topics/t/subscriptions/default/pull",
        "/v1/apps/a/checks",
    ],
)
def test_malformed_json_is_400_everywhere(orders: Caller, path: str, name: str) -> None:
    orders.post(path.replace("{id}", new_id()), MALFORMED[name]).refused(400)


def _nested(depth: int) -> bytes:
    return b'{"topic": "t", "payload": ' + b"[" * depth + b"]" * depth + b"}"


def test_two_hundred_thousand_brackets_disturb_nobody(node: Node, orders: Caller) -> None:
    with undisturbed(node):
        for body in (
            _nested(200_000),
            b'{"topic": "t", "payload": ' + b"[" * 200_000,
            b'{"topic": "t", "payload": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
            b"[" * 200_000,
            b'{"headers": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            b'{"items": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        ):
            for path in ("/v1/messages", "/v1/batch/prepare", f"/v1/messages/{new_id()}/confirm"):
                orders.post(path, body).refused(400, 413, 422)


def test_a_payload_may_be_32_levels_deep(orders: Caller, topic: str) -> None:
    deepest = _nested(32).replace(b'"t"', json.dumps(topic).encode())
    orders.post("/v1/messages", deepest).require(201)
    orders.post("/v1/messages", _nested(33)).refused(400, 422)
    # Brackets inside a text are no levels.
    orders.prepare(topic, "[" * 5000).require(201)


WRONG: dict[str, dict[str, Any]] = {
    "no topic": {"topic": None},
    "number as topic": {"topic": 7},
    "empty topic": {"topic": ""},
    "NUL in the topic": {"topic": "a\u0000b"},
    "surrogate in the topic": {"topic": "a\ud800"},
    "emoji as topic": {"topic": "\U0001f4a5"},
    "unknown field": {"colour": "red"},
    "nearly known field": {"Topic": "t"},
    "both payloads": {"payload_base64": "MQ=="},
    "bad base64": {"payload_base64": "M", "payload": ...},
    "base64 with a line break": {"payload_base64": "MQ==\n", "payload": ...},
    "no payload": {"payload": ...},
    "number as id": {"id": 7},
    "id with NUL": {"id": "\u0000"},
    "NUL in the key": {"key": "a\u0000"},
    "surrogate in the key": {"key": "\udfff"},
    "line break in the key": {"key": "a\r\nb"},
    "long key": {"key": "k" * 129},
    "number as key": {"key": 7},
    "headers as a list": {"headers": []},
    "number as header": {"headers": {"a": 1}},
    "null as header": {"headers": {"a": None}},
    "empty header name": {"headers": {"": "a"}},
    "line break in a header name": {"headers": {"a\r\nb": "c"}},
    "NUL in a header": {"headers": {"a": "b\u0000"}},
    "line break in a header": {"headers": {"a": "b\r\nx-injected: 1"}},
    "surrogate in a header": {"headers": {"a": "\ud800"}},
    "long header name": {"headers": {"a" * 129: "b"}},
    "65 headers": {"headers": {f"h{n}": "v" for n in range(65)}},
    "headers over 16 KiB": {"headers": {"a": "v" * 16_400}},
    "reserved header": {"headers": {"aftercommit-id": "x"}},
    "reserved header in capitals": {"headers": {"AfterCommit-Id": "x"}},
    "CloudEvents header": {"headers": {"ce-id": "x"}},
    "NUL in the content type": {"content_type": "text/plain\u0000"},
    "line break in the content type": {"content_type": "text/plain\r\nx: y"},
    "surrogate in the hint": {"check_hint": "\ud800"},
    "negative delay": {"delay_seconds": -0.001},
    "delay over 30 days": {"delay_seconds": 30 * 24 * 3600 + 1},
    "delay of 2^63": {"delay_seconds": 2**63},
    "delay of 10^400": {"delay_seconds": 10**400},
    "delay as text": {"delay_seconds": "1"},
    "delay as list": {"delay_seconds": [1]},
    "delay true": {"delay_seconds": True},
    "two delays": {"delay_seconds": 1, "deliver_at": "2031-01-01T00:00:00Z"},
    "a time without zone": {"deliver_at": "2031-01-01T00:00:00"},
    "a far time": {"deliver_at": "9999-12-31T23:59:59Z"},
    "no time": {"deliver_at": "tomorrow"},
    "a 13th month": {"deliver_at": "2031-13-01T00:00:00Z"},
    "year 0": {"deliver_at": "0000-01-01T00:00:00Z"},
    "an impossible zone": {"deliver_at": "2031-01-01T00:00:00+99:99"},
    "negative check": {"check_after_seconds": -1},
    "check of 2^63": {"check_after_seconds": 2**63},
    "confirmed as text": {"confirmed": "yes"},
    "confirmed as number": {"confirmed": 1},
}
# What has no JSON number of its own.
RAW_WRONG: dict[str, bytes] = {
    "1e999 as delay": b'{"topic": "t", "payload": 1, "delay_seconds": 1e999}',
    "-1e999 as check": b'{"topic": "t", "payload": 1, "check_after_seconds": -1e999}',
    "5,000 digits as delay": b'{"topic": "t", "payload": 1, "delay_seconds": ' + b"9" * 5000 + b"}",
    "repeated topic": b'{"topic": "t", "topic": "u", "payload": 1}',
    "repeated payload": b'{"topic": "t", "payload": 1, "payload": 2}',
    "repeated header": b'{"topic": "t", "payload": 1, "headers": {"a": "1", "a": "2"}}',
    "escaped repetition": b'{"topic": "t", "p\\u0061yload": 1, "payload": 2}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "a text": b'"topic"',
}


@pytest.mark.parametrize("name", WRONG)
def test_a_well_formed_but_wrong_prepare_is_422_with_a_pointer(orders: Caller, name: str) -> None:
    body = {"topic": "t", "payload": 1, **WRONG[name]}
    sent = {key: value for key, value in body.items() if value is not ...}
    if name.startswith("surrogate"):
        # JSON's grammar allows an escaped half of a pair, its readers need not.
        orders.post("/v1/messages", sent).refused(400, 422)
    else:
        assert orders.post("/v1/messages", sent).refused(422)["pointer"].startswith("/")
    assert orders.get("/v1/messages").require(200)["messages"] == []


@pytest.mark.parametrize("name", RAW_WRONG)
def test_a_raw_wrong_prepare_is_refused(orders: Caller, name: str) -> None:
    orders.post("/v1/messages", RAW_WRONG[name]).refused(400, 422)
    assert orders.get("/v1/messages").require(200)["messages"] == []


def test_what_is_too_large_is_413(orders: Caller, topic: str) -> None:
    fits, over = "x" * (256 * 1024 - 2), "x" * (256 * 1024 - 1)

    orders.prepare(topic, fits).require(201)
    orders.prepare(topic, over).refused(413)
    orders.post("/v1/messages", {"topic": topic, "payload_base64": "AAAA" * 87382}).refused(413)
    orders.post("/v1/messages", b" " * 2_000_000 + b"{}").refused(413)


ODD_PAYLOADS: dict[str, bytes] = {
    "escaped NUL": b'"a\\u0000b"',
    "escaped lone surrogate": b'"\\ud800"',
    "escaped pair": b'"\\ud83d\\ude00"',
    "1e999": b"1e999",
    "5,000 digits": b"9" * 5000,
    "2^63": b"9223372036854775808",
    "minus zero": b"-0.0",
    "precise": b"0.1000000000000000055511151231257827",
    "blanks": b'{ "a" :\t[ 1 ,\r\n 2 ] }',
    "repeated key": b'{"a": 1, "a": 2}',
    "null": b"null",
    "empty key": b'{"": {"": ""}}',
    "escaped slash": b'"<\\/script>"',
    "emoji": '"\U0001f4a5\u2028"'.encode(),
    "proto": b'{"__proto__": {"a": 1}}',
}


@pytest.mark.parametrize("name", ODD_PAYLOADS)
def test_an_odd_payload_comes_back_byte_for_byte_or_is_refused(orders: Caller, topic: str, name: str) -> None:
    payload = ODD_PAYLOADS[name]
    body = b'{"topic": %b, "confirmed": true, "payload": %b}' % (json.dumps(topic).encode(), payload)

    answer = orders.post("/v1/messages", body)

    if answer.status != 201:
        answer.refused(400, 422)
        return
    pulled = orders.pull_answer(topic, "default", wait_seconds=10)
    assert pulled.status == 200
    assert pulled_payloads(pulled.body) == [payload]
    stored = orders.get(f"/v1/messages/{answer.json['id']}")
    assert stored.status == 200
    assert raw_payload(stored.body) == payload


@pytest.mark.parametrize("name", ["escaped NUL", "1e999", "precise", "blanks", "null", "empty key", "emoji"])
def test_any_json_value_is_a_payload(orders: Caller, topic: str, name: str) -> None:
    body = b'{"topic": %b, "payload": %b}' % (json.dumps(topic).encode(), ODD_PAYLOADS[name])
    orders.post("/v1/messages", body).require(201)


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("confirm", {"reason": "x"}),
        ("cancel", {"reason": 7}),
        ("cancel", {"why": "x"}),
        ("complete", {"subscription": 7}),
        ("complete", {"reason": "x"}),
        ("fail", {}),
        ("fail", {"reason": None}),
        ("fail", {"reason": "x", "more": 1}),
        ("discard", {}),
        ("resolve", {}),
        ("recheck", {"now": True}),
        ("redeliver", {"subscriptions": "billing"}),
    ],
)
def test_a_wrong_field_of_any_verb_is_422(orders: Caller, topic: str, verb: str, body: dict[str, object]) -> None:
    message_id = orders.prepare(topic).require(201)["id"]

    orders.post(f"/v1/messages/{message_id}/{verb}", body).refused(422)

    assert orders.status(message_id) == "pending_confirmation"


@pytest.mark.parametrize("reason", ["a\u0000b", "\ud800", "x" * 100_000, "<script>", "\r\n"])
def test_any_reason_is_kept_or_refused(orders: Caller, topic: str, reason: str) -> None:
    message_id = orders.publish(topic)

    answer = orders.fail(message_id, reason=reason)

    assert answer.status in {200, 400, 413, 422}
    assert orders.get(f"/v1/messages/{message_id}").status == 200
    assert orders.get("/v1/messages", topic=topic).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=99999999999999999999",
        "limit=x",
        "status=gone",
        "status=",
        "since=yesterday",
        "until=2031-13-01T00:00:00Z",
        "cursor=x",
        "cursor=99999999999999999999~x",
        "colour=red",
        "limit=1&limit=2",
        "key=%00",
        "key=%ff",
        "q=%",
        "limit=%D9%A1",
    ],
)
def test_a_wrong_query_is_refused(orders: Caller, query: str) -> None:
    answer = orders.call("GET", f"/v1/messages?{query}")
    if query == "q=%" and answer.status == 200:
        return
    answer.refused(400, 422)


@pytest.mark.parametrize("text", ["%", "_", "'", '"', "\\", "' OR 1=1 --", "*", "\U0001f4a5", "x" * 3000])
def test_any_text_may_be_searched_for(orders: Caller, topic: str, text: str) -> None:
    orders.prepare(topic, key="k").require(201)

    for name in ("q", "key", "topic", "app", "error"):
        answer = orders.get("/v1/messages", **{name: text})
        if answer.status != 200:
            answer.refused(400, 414, 422, 431)
        else:
            assert answer.json["messages"] == []


@pytest.mark.parametrize("message_id", ["x", "..", "%00", "%ff", "%2e%2e%2f", "'", "x" * 5000, "7" * 36, "%0d%0a"])
@pytest.mark.parametrize("verb", ["", "/confirm", "/complete", "/redeliver"])
def test_an_odd_id_in_the_address_is_a_problem(orders: Caller, message_id: str, verb: str) -> None:
    answer = orders.call("POST" if verb else "GET", f"/v1/messages/{message_id}{verb}")
    answer.refused(400, 404, 405, 414, 422, 431)


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "ä".encode().decode("latin-1"), "x" * 200, "%00", "-"])
def test_an_application_has_a_plain_name(node: Node, name: str) -> None:
    with node.caller(name) as caller:
        caller.get("/v1/messages").refused(400, 401, 403, 422, pointed=False)
        caller.prepare("t").refused(400, 401, 403, 422, pointed=False)
