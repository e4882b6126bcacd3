"""Prepares made up by a machine: never a 5xx, and what is accepted is delivered byte for byte."""

import base64
import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.caller import Caller, pulled_payloads
from tests.e2e.names import DAY_SECONDS, fresh, new_id
from tests.e2e.node import Node

EXAMPLES = 300

blanks = st.text(alphabet=" \t\r\n", max_size=3)
numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**31, 2**53, 2**63, 2**64, -(2**63), 1e-320, 10**30]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """One JSON value, written in one of its many spellings."""
    text = json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 3, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (" , ", "\t:\n")])),
    )
    # Blanks around a value belong to the request, blanks inside it to the value.
    return text.strip()


odd_texts = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="ab.-_/\\ \u0000\n\ud800\udfff\u202e\U0001f4a5é", max_size=12),
    st.sampled_from(["a" * 128, "a" * 129, "x" * 2000, "aftercommit-id", "ce-type", "..", "%00", "null"]),
)
odd_numbers = st.one_of(numbers, st.sampled_from(["1e999", "-0", "NaN"]))
odd_fields = st.one_of(
    st.tuples(st.just("key"), odd_texts),
    st.tuples(st.just("check_hint"), odd_texts),
    st.tuples(st.just("content_type"), odd_texts),
    st.tuples(st.just("headers"), st.dictionaries(odd_texts, odd_texts, max_size=3)),
    st.tuples(st.just("delay_seconds"), odd_numbers | st.floats(0, 1)),
    st.tuples(st.just("check_after_seconds"), odd_numbers | st.floats(0, 100)),
    st.tuples(st.just("deliver_at"), odd_texts | st.datetimes().map(lambda at: at.isoformat() + "Z")),
    st.tuples(st.just("id"), odd_texts | st.floats(-9, 9).map(lambda days: new_id(days * DAY_SECONDS))),
    st.tuples(
        st.just("payload_base64"), odd_texts | st.binary(max_size=50).map(lambda b: base64.b64encode(b).decode())
    ),
    st.tuples(st.sampled_from(["key", "headers", "id", "topic", "confirmed", "delay_seconds"]), values),
    st.tuples(st.text(max_size=8), values),
)


@st.composite
def prepares(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """The payload's text, and the other fields as JSON texts."""
    fields = {"confirmed": "true"}
    for name, value in draw(st.lists(odd_fields, max_size=3)):
        fields[name] = value if value in ("1e999", "NaN") else json.dumps(value, ensure_ascii=draw(st.booleans()))
    return draw(json_texts()), fields


def test_no_prepare_makes_a_5xx_and_what_is_accepted_comes_back(node: Node) -> None:
    heard: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(prepares(), blanks, st.binary(max_size=4), st.integers(0, 20))
    def send(prepare: tuple[str, dict[str, str]], blank: str, noise: bytes, luck: int) -> None:
        payload, fields = prepare
        topic = fresh("fuzz.")
        members = {"topic": json.dumps(topic), "payload": payload, **fields}
        if "payload_base64" in fields:
            del members["payload"]
        written = [f"{blank}{json.dumps(name)}{blank}:{blank}{text}{blank}" for name, text in members.items()]
        body = ("{" + ",".join(written) + "}").encode("utf-8", "surrogatepass")
        if luck == 0:
            body = body[: len(body) // 2] + noise + body[len(body) // 2 :]
        with node.caller(fresh("fuzz-")) as caller:
            answer = caller.post("/v1/messages", body)
            heard[answer.status] += 1
            if answer.status != 201:
                answer.refused(400, 409, 413, 422)
                return
            seen = caller.message(answer.json["id"])
            if luck and seen["topic"] == topic:
                _require_delivery(caller, seen, members)

    send()

    # A fuzz in which nothing is accepted, or everything, tests nothing.
    assert heard[201] > EXAMPLES / 8
    assert heard[400] + heard[422] > EXAMPLES / 8


def _require_delivery(caller: Caller, seen: dict[str, Any], members: dict[str, str]) -> None:
    if seen["status"] == "pending_confirmation":
        caller.confirm(seen["id"]).require(200)
    if seen["deliver_at"] is not None:
        return
    pulled = caller.pull_answer(seen["topic"], "default", wait_seconds=10)
    messages: list[dict[str, Any]] = pulled.require(200)["messages"]
    assert [each["id"] for each in messages] == [seen["id"]]
    if "payload" in members:
        assert pulled_payloads(pulled.body) == [members["payload"].encode("utf-8", "surrogatepass")]
    else:
        given = base64.b64decode(json.loads(members["payload_base64"]))
        assert base64.b64decode(messages[0]["payload_base64"]) == given
    for name in ("key", "headers", "content_type"):
        if members.get(name, "null") != "null":
            assert messages[0][name] == json.loads(members[name])
    caller.complete(seen["id"]).require(200)
