"""Search, look and act."""

import pytest

from tests.api.door import Door, refused
from tests.service.world import TOPIC


async def test_search_pages_through_messages(api: Door):
    ids = [(await api.post("/messages", {"topic": TOPIC, "payload": n, "key": str(n)})).json()["id"] for n in range(3)]

    first = (await api.get("/messages?limit=2&status=pending_confirmation")).json()
    second = (await api.get(f"/messages?limit=2&status=pending_confirmation&cursor={first['next_cursor']}")).json()

    found = [each["id"] for each in first["messages"] + second["messages"]]
    assert found == sorted(ids, reverse=True)
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("colour=red", "unknown_parameter", "/colour"),
        ("status=gone", "invalid_query", "/status"),
        ("limit=0", "invalid_query", "/limit"),
        ("limit=9999999999999999999999", "invalid_query", "/limit"),
        ("since=yesterday", "invalid_query", "/since"),
        ("cursor=%F0%9F%98%80", "invalid_query", "/cursor"),
        ("q=a%00b", "invalid_parameter", "/q"),
        ("key=a&key=b", "invalid_parameter", "/key"),
        ("a/b~c", "unknown_parameter", "/a~1b~0c"),
    ],
)
async def test_a_wrong_parameter_is_pointed_at(api: Door, query, code, pointer):
    refused(await api.get(f"/messages?{query}"), 422, code, pointer)


@pytest.mark.parametrize("query", ["q=%FF", "q=%ED%A0%80", "&".join(f"a{n}=1" for n in range(100))])
async def test_a_query_that_is_none_is_malformed(api: Door, query):
    refused(await api.get(f"/messages?{query}"), 400, "malformed_request")


async def test_a_call_without_parameters_takes_none(api: Door):
    refused(await api.get("/topics?limit=1"), 422, "unknown_parameter", "/limit")


async def test_an_undecided_message_is_resolved_with_a_reason(api: Door):
    message_id = (await api.post("/messages", {"topic": TOPIC, "payload": 1})).json()["id"]
    path = f"/messages/{message_id}/resolve"

    refused(await api.post(path, {"outcome": "committed"}), 422, "missing_field", "/reason")
    refused(await api.post(path, {"outcome": "perhaps", "reason": "x"}), 422, "invalid_outcome", "/outcome")
    problem = refused(await api.post(path, {"outcome": "committed", "reason": "x"}), 409, "invalid_transition")

    assert problem["message_status"] == "pending_confirmation"


async def test_a_message_is_rechecked_discarded_and_replayed(api: Door):
    message_id = (await api.post("/messages", {"topic": TOPIC, "payload": 1})).json()["id"]

    rechecked = await api.post(f"/messages/{message_id}/recheck")
    await api.post(f"/messages/{message_id}/confirm")
    discarded = await api.post(f"/messages/{message_id}/discard", {"reason": "not wanted"})
    replayed = await api.post(f"/messages/{message_id}/redeliver", {"reason": "wanted after all"})
    again = await api.post(f"/messages/{message_id}/redeliver")

    assert rechecked.json()["status"] == "pending_confirmation"
    assert discarded.json() == {"id": message_id, "status": "failed"}
    assert (replayed.status_code, again.status_code) == (201, 200)
    assert replayed.json()["id"] == again.json()["id"] != message_id


async def test_a_replay_of_unknown_subscriptions_is_pointed_at(api: Door):
    message_id = (await api.post("/messages", {"topic": TOPIC, "payload": 1, "confirmed": True})).json()["id"]
    await api.post(f"/messages/{message_id}/discard", {"reason": "x"})

    response = await api.post(f"/messages/{message_id}/redeliver", {"subscriptions": ["nobody"]})

    refused(response, 422, "unknown_subscription", "/subscriptions")


async def test_stats_count_by_status(api: Door):
    await api.post("/messages", {"topic": TOPIC, "payload": 1})

    assert (await api.get("/stats")).json()["totals"]["pending_confirmation"] == 1
    assert (await api.get("/stats", app="stranger")).json()["totals"]["pending_confirmation"] == 0
    assert (await api.get("/stats", app=None)).json()["totals"]["pending_confirmation"] == 1
