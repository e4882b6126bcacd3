"""The story that the first screen of the documentation tells, and what can be seen of it from outside."""

import re
from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from aftercommit.sdk import AsyncClient
from tests.e2e.caller import Caller
from tests.e2e.names import fresh, new_id
from tests.e2e.node import Node
from tests.e2e.waiting import await_status

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_message_goes_from_prepare_to_completed_and_its_timeline_tells_it(orders: Caller, topic: str) -> None:
    # Given a topic with a subscription
    made = orders.put_topic(topic, "billing").require(201)
    assert [each["name"] for each in made["subscriptions"]] == ["billing"]

    # When a message goes through its life
    prepared = orders.prepare(topic, {"order": 42}, key="42", headers={"x-shop": "7"}).require(201)
    assert prepared == {"id": prepared["id"], "status": "pending_confirmation"}
    assert UUID7.fullmatch(prepared["id"])
    assert orders.pull(topic, "billing") == [], "Nothing may be delivered before it is confirmed."
    confirmed = orders.confirm(prepared["id"]).require(200)
    assert confirmed["status"] in {"pending_send", "sent"}
    pulled = orders.pull_one(topic, "billing")
    assert orders.complete(prepared["id"]).require(200) == {"id": prepared["id"], "status": "completed"}

    # Then the consumer got what the initiator gave
    sent_at = pulled.pop("sent_at")
    assert TIME.fullmatch(sent_at)
    assert pulled == {
        "id": prepared["id"],
        "topic": topic,
        "key": "42",
        "headers": {"x-shop": "7"},
        "content_type": "application/json",
        "payload": {"order": 42},
        "attempt": 1,
    }
    # And the service tells the whole story
    seen = orders.message(prepared["id"])
    assert (seen["status"], seen["attempts"], seen["checks"]) == ("completed", 1, 0)
    assert (seen["app"], seen["topic"], seen["payload"]) == (orders.app, topic, {"order": 42})
    delivery = seen["deliveries"][0]
    assert (delivery["subscription"], delivery["status"], delivery["attempts"]) == ("billing", "completed", 1)
    events = [each["event"] for each in seen["timeline"]]
    assert events == ["prepared", "confirmed", "sent", "pulled", "completed"]
    times = [each["at"] for each in seen["timeline"]]
    assert all(TIME.fullmatch(each) for each in times)
    assert times == sorted(times)
    assert abs(datetime.fromisoformat(times[0]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_rolled_back_transaction_leaves_a_row_and_delivers_nothing(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    message_id = orders.prepare(topic, {"order": 43}).require(201)["id"]

    assert orders.cancel(message_id, reason="The card was refused.").require(200)["status"] == "rolled_back"

    seen = orders.message(message_id)
    assert seen["status"] == "rolled_back"
    assert "The card was refused." in str(seen)
    assert orders.pull(topic, "billing", wait_seconds=0.3) == []


def test_a_confirmed_prepare_is_a_plain_publish(orders: Caller, topic: str) -> None:
    answer = orders.prepare(topic, [1, 2], confirmed=True).require(201)

    assert answer["status"] in {"pending_send", "sent"}
    # A topic made in passing delivers to one implicit subscription.
    assert orders.pull_one(topic, "default")["payload"] == [1, 2]


def test_a_list_is_filtered_and_turned_page_by_page(orders: Caller, topic: str) -> None:
    ids = [orders.prepare(topic, number, key=f"k{number}").require(201)["id"] for number in range(5)]
    orders.cancel(ids[0]).require(200)

    found: list[str] = []
    query: dict[str, object] = {"topic": topic, "limit": 2}
    while True:
        page = orders.get("/v1/messages", **query).require(200)
        found += [each["id"] for each in page["messages"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert sorted(found) == sorted(ids)
    assert len(found) == len(ids), "Every message is on one page only."
    by_status = orders.get("/v1/messages", topic=topic, status="rolled_back").require(200)["messages"]
    assert [each["id"] for each in by_status] == [ids[0]]
    by_key = orders.get("/v1/messages", topic=topic, key="k3").require(200)["messages"]
    assert [(each["id"], each["status"]) for each in by_key] == [(ids[3], "pending_confirmation")]
    by_id = orders.get("/v1/messages", q=ids[2]).require(200)["messages"]
    assert [each["id"] for each in by_id] == [ids[2]]
    assert orders.get("/v1/messages", topic=fresh("nowhere")).require(200)["messages"] == []
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert len(orders.get("/v1/messages", topic=topic, since=yesterday).require(200)["messages"]) == 5
    assert orders.get("/v1/messages", topic=topic, until=yesterday).require(200)["messages"] == []


def test_stats_count_every_status_of_the_caller(orders: Caller, topic: str) -> None:
    done = orders.publish(topic, "done")
    orders.pull_one(topic, "default")
    orders.complete(done).require(200)
    orders.cancel(orders.prepare(topic).require(201)["id"]).require(200)
    orders.prepare(topic).require(201)

    stats = orders.get("/v1/stats").require(200)

    rows = {each["status"]: each["count"] for each in stats["messages"] if each["topic"] == topic}
    assert rows == {"completed": 1, "rolled_back": 1, "pending_confirmation": 1}
    assert (stats["totals"]["completed"], stats["totals"]["undecided"]) == (1, 0)
    ages = {each["status"]: each["oldest_age_seconds"] for each in stats["messages"]}
    assert 0 <= ages["pending_confirmation"] < 60


def test_metrics_can_be_read_by_prometheus(orders: Caller, operator: Caller, topic: str) -> None:
    orders.publish(topic)

    answer = operator.get("/metrics")

    assert answer.status == 200
    families = {each.name: each for each in text_string_to_metric_families(answer.body.decode())}
    ours = [name for name in families if name.startswith("aftercommit")]
    assert len(ours) > 5
    assert not [
        sample
        for name in ours
        for sample in families[name].samples
        if sample.labels.get("status") == "500" and sample.value
    ], "Something made the service answer 500."


def test_the_probes_and_the_pages_answer(operator: Caller) -> None:
    assert operator.get("/livez").status == 200
    assert operator.get("/readyz").status == 200
    document = operator.get("/openapi.json").require(200)
    assert document["openapi"].startswith("3.1")
    assert "/v1/messages/{id}/confirm" in document["paths"]
    for page in ("/docs", "/"):
        answer = operator.get(page)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")


def test_the_sdk_tells_the_same_story(node: Node, topic: str) -> None:
    with node.client(fresh("orders-")) as client:
        client.put_topic(topic, subscriptions=["billing"])
        message = client.prepare(topic, {"order": 42}, key="42")
        client.confirm(message.id)
        pulled = client.pull(topic, "billing", wait_seconds=10)
        assert [(each.id, each.json(), each.attempt) for each in pulled] == [(message.id, {"order": 42}, 1)]
        assert client.complete(message.id).status == "completed"
        assert [each.event for each in client.message(message.id).timeline][-1] == "completed"


async def test_the_awaitable_sdk_tells_the_same_story(node: Node, topic: str) -> None:
    async with AsyncClient(f"http://127.0.0.1:{node.port}", app=fresh("orders-")) as client:
        await client.put_topic(topic, subscriptions=["billing"])
        message = await client.prepare(topic, b"\x00\xff")
        await client.confirm(message.id)
        pulled = await client.pull(topic, "billing", wait_seconds=10)
        assert [(each.id, each.body) for each in pulled] == [(message.id, b"\x00\xff")]
        assert (await client.complete(message.id)).status == "completed"


def test_bytes_come_back_as_the_same_bytes(orders: Caller, topic: str) -> None:
    answer = orders.post("/v1/messages", {"topic": topic, "payload_base64": "AP/+gA==", "confirmed": True})
    message_id = answer.require(201)["id"]

    pulled = orders.pull_one(topic, "default")

    assert pulled["payload_base64"] == "AP/+gA=="
    assert "payload" not in pulled
    assert pulled["content_type"] == "application/octet-stream"
    assert orders.message(message_id)["payload_base64"] == "AP/+gA=="


def test_an_id_made_by_the_client_makes_prepare_repeatable(orders: Caller, topic: str) -> None:
    message_id = new_id()

    assert orders.prepare(topic, {"n": 1}, id=message_id).require(201)["id"] == message_id
    assert orders.prepare(topic, {"n": 1}, id=message_id).require(200)["status"] == "pending_confirmation"
    orders.confirm(message_id).require(200)
    await_status(orders, message_id, "sent")
    assert orders.prepare(topic, {"n": 1}, id=message_id).require(200)["status"] == "sent"
