"""Batches: one result per item, in order, and no bad item spoils another."""

import pytest

from tests.api.door import UNKNOWN_ID, Door, refused
from tests.service.world import TOPIC

MESSAGE = {"topic": TOPIC, "payload": 1}
VERBS = ["prepare", "confirm", "cancel", "complete", "fail", "status"]


async def test_items_are_answered_in_order_each_on_its_own(api: Door):
    first, second, third = (api.world.new_id() for _ in range(3))
    await api.post("/messages", {**MESSAGE, "id": second, "key": "other"})

    response = await api.post(
        "/batch/prepare",
        {
            "items": [
                {**MESSAGE, "id": first},
                {**MESSAGE, "id": second},
                5,
                {**MESSAGE, "id": third, "colour": 1},
                {**MESSAGE, "id": "nil"},
                {"id": 5},
                {**MESSAGE, "id": first},
                MESSAGE,
            ]
        },
    )

    assert response.status_code == 200
    results = response.json()["results"]
    assert results[0] == {"id": first, "status": "pending_confirmation"}
    assert results[1]["id"] == second
    assert results[1]["error"]["code"] == "id_conflict"
    assert results[1]["error"]["status"] == "pending_confirmation"
    assert (results[2].get("id"), results[2]["error"]["code"]) == (None, "invalid_field")
    assert (results[3]["id"], results[3]["error"]["code"]) == (third, "unknown_field")
    assert (results[4]["id"], results[4]["error"]["code"]) == ("nil", "invalid_id")
    assert (results[5].get("id"), results[5]["error"]["code"]) == (None, "invalid_field")
    assert results[6] == results[0]
    assert results[7]["status"] == "pending_confirmation"


async def test_items_with_the_same_id_apply_in_order(api: Door):
    message_id = api.world.new_id()
    await api.post("/messages", {**MESSAGE, "id": message_id})

    cancelled = await api.post("/batch/cancel", {"items": [{"id": message_id, "reason": "x"}, {"id": message_id}]})
    confirmed = await api.post("/batch/confirm", {"items": [{"id": message_id}]})

    assert [each["status"] for each in cancelled.json()["results"]] == ["rolled_back", "rolled_back"]
    assert confirmed.json()["results"][0]["error"]["code"] == "rolled_back"


async def test_the_verbs_of_a_consumer(api: Door):
    ids = [(await api.post("/messages", {**MESSAGE, "confirmed": True})).json()["id"] for _ in range(2)]

    completed = await api.post(
        "/batch/complete",
        {"items": [{"id": ids[0]}, {"id": UNKNOWN_ID}, {"id": ids[0], "subscription": "x"}]},
        app="billing",
    )
    failed = await api.post("/batch/fail", {"items": [{"id": ids[1], "reason": "no"}, {"id": ids[0]}]}, app="billing")

    assert [each.get("status") or each["error"]["code"] for each in completed.json()["results"]] == [
        "completed",
        "unknown_message",
        "unknown_subscription",
    ]
    assert [each.get("status") or each["error"]["code"] for each in failed.json()["results"]] == [
        "failed",
        "missing_field",
    ]


async def test_status_reads_and_changes_nothing(api: Door):
    message_id = (await api.post("/messages", MESSAGE)).json()["id"]
    before = await api.get(f"/messages/{message_id}")

    response = await api.post("/batch/status", {"items": [{"id": message_id}, {"id": UNKNOWN_ID}, {"id": "x"}]})

    assert response.json()["results"][0] == {"id": message_id, "status": "pending_confirmation"}
    assert [each["error"]["code"] for each in response.json()["results"][1:]] == ["unknown_message"] * 2
    assert (await api.get(f"/messages/{message_id}")).json() == before.json()


async def test_status_shows_nothing_of_other_applications(api: Door):
    message_id = (await api.post("/messages", MESSAGE)).json()["id"]

    response = await api.post("/batch/status", {"items": [{"id": message_id}]}, app="stranger")

    assert response.json()["results"][0]["error"]["code"] == "unknown_message"


@pytest.mark.parametrize("verb", VERBS)
async def test_an_empty_batch_has_no_results(api: Door, verb):
    assert (await api.post(f"/batch/{verb}", {"items": []})).json() == {"results": []}


@pytest.mark.parametrize("verb", VERBS)
async def test_1000_items_are_taken_and_1001_are_not(api: Door, verb):
    item = {"id": UNKNOWN_ID, "reason": "x"} if verb == "fail" else {"id": UNKNOWN_ID}

    most = await api.post(f"/batch/{verb}", {"items": [item] * 1000})
    refused(await api.post(f"/batch/{verb}", {"items": [item] * 1001}), 422, "too_many_items", "/items")

    assert len(most.json()["results"]) == 1000


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, "malformed_json", None),
        (b'{"items":[', 400, "malformed_json", None),
        (b'{"items":["\xff"]}', 400, "malformed_json", None),
        (b'{"items":' + b"[" * 200_000, 400, "malformed_json", None),
        (b"{}", 422, "missing_field", "/items"),
        (b'{"items":null}', 422, "invalid_field", "/items"),
        (b'{"items":[],"all":true}', 422, "unknown_field", "/all"),
        (b'{"items":[],"items":[]}', 400, "duplicate_key", "/items"),
    ],
)
async def test_a_batch_that_is_none_is_refused_as_a_whole(api: Door, verb, body, status, code, pointer):
    refused(await api.post(f"/batch/{verb}", body), status, code, pointer)


async def test_a_batch_may_be_8_mib_and_no_larger(api: Door):
    frame = b'{"items":[]%s}'

    allowed = await api.post("/batch/status", frame % (b" " * (8 * 1024 * 1024 - len(frame) + 2)))
    refused(await api.post("/batch/status", frame % (b" " * (8 * 1024 * 1024))), 413, "body_too_large")

    assert allowed.status_code == 200


async def test_an_item_that_nests_too_deep_spoils_no_other(api: Door):
    deep = b'{"topic":"t","payload":' + b"[" * 40 + b"]" * 40 + b"}"

    response = await api.post("/batch/prepare", b'{"items":[%b,{"topic":"t","payload":[[1]]}]}' % deep)

    bad, good = response.json()["results"]
    assert (bad["error"]["code"], good["status"]) == ("payload_too_deep", "pending_confirmation")


async def test_a_key_that_stands_twice_in_an_item_spoils_no_other(api: Door):
    twice = b'{"topic":"t","payload":1,"payload":2}'

    response = await api.post("/batch/prepare", b'{"items":[%b,{"topic":"t","payload":1}]}' % twice)

    bad, good = response.json()["results"]
    assert (bad["error"]["code"], good["status"]) == ("duplicate_key", "pending_confirmation")


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b'{"items":[' + b"1," * 4_000_000 + b"1]}", 422, "too_many_items", "/items"),
        (b'{"items":[' + b"{}," * 2_000_000 + b"{}]}", 422, "too_many_items", "/items"),
        (b'{"items":[' + b"1," * 4_000_000, 422, "too_many_items", "/items"),
        (b'{"other":[' + b"1," * 4_000_000 + b"1]}", 422, "unknown_field", "/other"),
        (b"[" + b"1," * 4_000_000 + b"1]", 422, "invalid_field", ""),
        (b"," * 4_000_000, 400, "malformed_json", None),
    ],
    ids=["numbers", "objects", "unfinished", "other", "list", "commas"],
)
async def test_millions_of_items_are_not_even_read(api: Door, body, status, code, pointer):
    refused(await api.post("/batch/confirm", body), status, code, pointer)


async def test_many_commas_are_not_many_items(api: Door):
    numbers = b"[" + b"1," * 110_000 + b"1]"

    response = await api.post("/batch/prepare", b'{"items":[{"topic":"t","payload":%b}]}' % numbers)

    assert response.json()["results"][0]["status"] == "pending_confirmation"
