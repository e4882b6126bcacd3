"""The six batches: one answer per item, in order, and one bad item spoils no other."""

import json
from functools import partial
from typing import Any

import pytest

from tests.e2e.caller import Caller
from tests.e2e.names import DAY_SECONDS, new_id
from tests.e2e.node import Node
from tests.e2e.waiting import at_once, await_status, ids_of

ITEMS_MAX = 1000
VERBS = ("prepare", "confirm", "cancel", "complete", "fail", "status")


def _items(topic: str, count: int, **fields: object) -> list[dict[str, Any]]:
    return [{"id": new_id(), "topic": topic, "payload": {"n": n}, **fields} for n in range(count)]


def test_the_six_batches_carry_messages_through_their_lives(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    items = _items(topic, 30)
    ids = ids_of(items)
    done, refused, dropped = ids[:10], ids[10:20], ids[20:]

    prepared = orders.batch("prepare", *items)
    assert prepared == [{"id": each, "status": "pending_confirmation"} for each in ids]
    confirmed = orders.batch("confirm", *({"id": each} for each in done + refused))
    assert [each["id"] for each in confirmed] == done + refused
    assert {each["status"] for each in confirmed} <= {"pending_send", "sent"}
    cancelled = orders.batch("cancel", *({"id": each, "reason": "Gave up."} for each in dropped))
    assert cancelled == [{"id": each, "status": "rolled_back"} for each in dropped]
    pulled: list[str] = []
    while len(pulled) < 20:
        pulled += ids_of(orders.pull(topic, "billing", max=100, wait_seconds=5))
    assert sorted(pulled) == sorted(done + refused)
    completed = orders.batch("complete", *({"id": each} for each in done))
    assert completed == [{"id": each, "status": "completed"} for each in done]
    failed = orders.batch("fail", *({"id": each, "reason": "No such customer."} for each in refused))
    assert failed == [{"id": each, "status": "failed"} for each in refused]

    statuses = [each["status"] for each in orders.batch("status", *({"id": each} for each in ids))]
    assert statuses == ["completed"] * 10 + ["failed"] * 10 + ["rolled_back"] * 10


def test_repeating_a_batch_changes_nothing(orders: Caller, topic: str) -> None:
    items = _items(topic, 5)
    by_id = [{"id": each["id"]} for each in items]
    first = orders.batch("prepare", *items)

    assert orders.batch("prepare", *items) == first
    orders.batch("confirm", *by_id)
    assert all("error" not in each for each in orders.batch("confirm", *by_id))
    assert all(each["status"] == "completed" for each in orders.batch("complete", *by_id))
    assert all(each["status"] == "completed" for each in orders.batch("complete", *by_id))
    assert len(orders.get("/v1/messages", topic=topic).require(200)["messages"]) == 5


def test_one_bad_item_spoils_no_other(orders: Caller, topic: str) -> None:
    good = _items(topic, 3)
    taken = {**good[0], "payload": "other"}
    buried = _items(topic, 1)[0]
    orders.cancel(buried["id"]).require(200)
    bad: list[Any] = [
        taken,
        buried,
        {"id": new_id(9 * DAY_SECONDS), "topic": topic, "payload": 1},
        {"id": new_id(), "topic": "no/topic", "payload": 1},
        {"id": new_id(), "payload": 1},
        {"id": new_id(), "topic": topic, "payload": 1, "colour": "red"},
        {"id": new_id(), "topic": topic},
        {"id": new_id(), "topic": topic, "payload_base64": "*"},
        {"id": new_id(), "topic": topic, "payload": "x" * 300_000},
        {"id": 7, "topic": topic, "payload": 1},
        {"id": "7", "topic": topic, "payload": 1},
        {"id": new_id(), "topic": topic, "payload": 1, "delay_seconds": -1},
        {},
        [],
        None,
        "text",
        7,
    ]

    results = orders.batch("prepare", good[0], *bad, good[1], good[2])

    assert len(results) == len(bad) + 3
    assert [results[0]["status"], *(each["status"] for each in results[-2:])] == ["pending_confirmation"] * 3
    codes = [each["error"]["code"] for each in results[1:-2]]
    assert codes[:3] == ["id_conflict", "rolled_back", "id_out_of_range"]
    for each in results[1:-2]:
        assert each["error"]["code"]
        assert each["error"]["detail"]
        assert "status" not in each
    assert results[1]["error"]["status"] == "pending_confirmation"
    for each in good:
        assert orders.message(each["id"])["payload"] == each["payload"]


@pytest.mark.parametrize("verb", ["confirm", "cancel", "complete", "fail", "status"])
def test_one_bad_id_spoils_no_other(orders: Caller, topic: str, verb: str) -> None:
    message_id = orders.publish(topic) if verb in {"complete", "fail"} else orders.prepare(topic).require(201)["id"]
    reason = {"reason": "Because."} if verb == "fail" else {}
    too_old = new_id(9 * DAY_SECONDS)

    results = orders.batch(
        verb, {"id": too_old, **reason}, {"id": message_id, **reason}, {}, {"id": 7}, {"id": "", **reason}, None
    )

    assert (results[1]["id"], "error" in results[1]) == (message_id, False)
    assert results[0]["error"]["code"] == "unknown_message"
    assert all("error" in results[n] for n in (0, 2, 3, 4, 5))


def test_items_with_the_same_id_apply_in_order(orders: Caller, topic: str) -> None:
    item = _items(topic, 1)[0]
    results = orders.batch("prepare", item, item, {**item, "payload": "other"}, item)
    assert [each.get("status") for each in results] == ["pending_confirmation"] * 2 + [None, "pending_confirmation"]
    assert results[2]["error"]["code"] == "id_conflict"

    by_id = {"id": item["id"]}
    assert [each["status"] for each in orders.batch("cancel", by_id, by_id)] == ["rolled_back"] * 2
    assert [each["error"]["code"] for each in orders.batch("confirm", by_id, by_id)] == ["rolled_back"] * 2
    assert orders.batch("prepare", item)[0]["error"]["code"] == "rolled_back"


def test_items_for_two_subscriptions_of_one_message_apply_in_order(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", "stock").require(201)
    message_id = orders.publish(topic)
    await_status(orders, message_id, "sent")

    results = orders.batch(
        "complete",
        {"id": message_id, "subscription": "stock"},
        {"id": message_id},
        {"id": message_id, "subscription": "billing"},
    )

    assert (results[0]["status"], results[2]["status"]) == ("sent", "completed")
    assert "error" in results[1]


def test_two_batches_over_the_same_messages_agree_on_each(node: Node, orders: Caller, topic: str) -> None:
    ids = [each["id"] for each in orders.batch("prepare", *_items(topic, 200))]
    by_id = [{"id": each} for each in ids]
    with node.caller(orders.app) as other:
        confirmed, cancelled = at_once(
            partial(orders.batch, "confirm", *by_id), partial(other.batch, "cancel", *reversed(by_id))
        )
    for message_id, confirm, cancel in zip(ids, confirmed, reversed(cancelled), strict=True):
        assert confirm["id"] == cancel["id"] == message_id
        if "error" in confirm:
            assert (confirm["error"]["code"], cancel["status"]) == ("rolled_back", "rolled_back")
        else:
            assert cancel["error"]["code"] == "already_confirmed"


def test_a_cancel_batch_leaves_tombstones(orders: Caller, topic: str) -> None:
    item = _items(topic, 1)[0]

    assert orders.batch("cancel", {"id": item["id"]})[0]["status"] == "rolled_back"

    assert orders.batch("prepare", item)[0]["error"]["code"] == "rolled_back"


def test_asking_for_statuses_changes_nothing(orders: Caller) -> None:
    unknown = new_id()

    assert orders.batch("status", {"id": unknown})[0]["error"]["code"] == "unknown_message"

    orders.get(f"/v1/messages/{unknown}").refused(404)


def test_a_thousand_items_are_taken_and_one_more_is_not(orders: Caller, topic: str) -> None:
    items = _items(topic, ITEMS_MAX + 1)

    orders.post("/v1/batch/prepare", {"items": items}).refused(413, 422)
    assert orders.get("/v1/messages", topic=topic).require(200)["messages"] == []
    assert [each["id"] for each in orders.batch("prepare", *items[:-1])] == ids_of(items[:-1])
    for verb in VERBS[1:]:
        orders.post(f"/v1/batch/{verb}", {"items": [{"id": each["id"]} for each in items]}).refused(413, 422)
    statuses = orders.batch("status", *({"id": each["id"]} for each in items[:-1]))
    assert {each["status"] for each in statuses} == {"pending_confirmation"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_batch_over_8_mib_is_refused(orders: Caller, verb: str) -> None:
    body = b'{"items": [{"id": "' + b"x" * (8 * 1024 * 1024) + b'"}]}'
    orders.post(f"/v1/batch/{verb}", body).refused(413)


def test_a_batch_of_large_payloads_is_taken(orders: Caller, topic: str) -> None:
    payload = "x" * 250_000
    items = [{"id": new_id(), "topic": topic, "payload": payload} for _ in range(32)]
    assert len(json.dumps({"items": items})) < 8 * 1024 * 1024

    assert {each["status"] for each in orders.batch("prepare", *items)} == {"pending_confirmation"}

    orders.batch("confirm", *({"id": each["id"]} for each in items))
    pulled: list[dict[str, Any]] = []
    while len(pulled) < len(items):
        pulled += orders.pull(topic, "default", max=100, wait_seconds=5)
    assert sorted(ids_of(pulled)) == sorted(ids_of(items))
    assert all(each["payload"] == payload for each in pulled)


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_batch_has_no_results(orders: Caller, verb: str) -> None:
    assert orders.batch(verb) == []


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"items": {}}', b'{"items": 7}', b'{"items": [], "more": 1}', b"null"]
)
def test_what_is_no_batch_is_refused(orders: Caller, verb: str, body: bytes) -> None:
    orders.post(f"/v1/batch/{verb}", body).refused(422)
