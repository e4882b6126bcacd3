"""Applications and topics over HTTP, and the checks of initiators that cannot be called."""

import pytest

from tests.api.door import Door, refused
from tests.service.world import TOPIC


async def test_a_topic_is_created_changed_shown_and_deleted(api: Door):
    body = {"subscriptions": [{"name": "audit", "app": "auditor", "policy": {"deliveries_max": 3}}]}

    created = await api.send("PUT", "/topics/payments", body)
    changed = await api.send("PUT", "/topics/payments", {"policy": {"retention_seconds": 60}})
    listed = await api.get("/topics")
    deleted = await api.send("DELETE", "/topics/payments")

    assert (created.status_code, changed.status_code, deleted.status_code) == (201, 200, 204)
    assert created.json()["subscriptions"][0]["policy"]["deliveries_max"] == 3
    assert changed.json()["policy"]["retention_seconds"] == 60
    assert [each["topic"] for each in listed.json()["topics"]] == [TOPIC, "payments"]
    assert deleted.content == b""
    refused(await api.get("/topics/payments"), 404, "unknown_topic")


async def test_a_topic_is_paused_and_resumed(api: Door):
    paused = await api.post(f"/topics/{TOPIC}/pause")
    resumed = await api.post(f"/topics/{TOPIC}/resume", {})

    assert (paused.json()["paused"], resumed.json()["paused"]) == (True, False)


async def test_what_is_in_use_is_not_dropped_without_force(api: Door):
    await api.post("/messages", {"topic": TOPIC, "payload": 1, "confirmed": True})
    nothing: dict[str, list[object]] = {"subscriptions": []}

    refused(await api.send("PUT", f"/topics/{TOPIC}", nothing), 409, "subscription_in_use")
    refused(await api.send("PUT", f"/topics/{TOPIC}?force=false", nothing), 409, "subscription_in_use")
    refused(await api.send("DELETE", f"/topics/{TOPIC}"), 409, "topic_in_use")

    assert (await api.send("PUT", f"/topics/{TOPIC}?force=true", nothing)).status_code == 200


async def test_names_that_would_collide_at_a_broker_are_refused(api: Door):
    await api.send("PUT", "/topics/a.b", {"subscriptions": [{"name": "c"}]})

    response = await api.send("PUT", "/topics/a_b", {"subscriptions": [{"name": "c"}]})

    refused(response, 409, "name_collision")


@pytest.mark.parametrize(
    ("path", "body", "code", "pointer"),
    [
        ("/topics/-x", {}, "invalid_topic", "/topic"),
        ("/topics/a%00b", {}, "invalid_topic", "/topic"),
        ("/topics/a%2Fb", {}, "invalid_topic", "/topic"),
        (f"/topics/{'x' * 129}", {}, "invalid_topic", "/topic"),
        ("/topics/t", {"subscriptions": [{"name": "a.b"}]}, "invalid_subscription", "/subscriptions"),
        ("/topics/t", {"policy": {"checks_max": 0}}, "invalid_policy", "/policy/checks_max"),
        ("/topics/t?force=perhaps", {}, "invalid_parameter", "/force"),
        ("/topics/t?force=true&force=true", {}, "invalid_parameter", "/force"),
        ("/topics/t?colour=red", {}, "unknown_parameter", "/colour"),
        ("/apps/-x", {}, "invalid_app", "/app"),
    ],
)
async def test_what_is_wrong_with_a_registration_is_pointed_at(api: Door, path, body, code, pointer):
    refused(await api.send("PUT", path, body), 422, code, pointer)


async def test_an_application_shows_each_secret_once(api: Door):
    created = await api.send("PUT", "/apps/shop", {"check_url": "http://127.0.0.1:9/", "check_signed": False})
    made = await api.post("/apps/shop/secrets")
    shown = await api.get("/apps/shop")

    assert (created.status_code, made.status_code) == (201, 201)
    assert created.json()["secrets"][0]["secret"].startswith("whsec_")
    assert made.json()["secret"].startswith("whsec_")
    assert len(shown.json()["secrets"]) == 2
    assert "whsec_" not in shown.text
    refused(await api.get("/apps/nobody"), 404, "unknown_app")
    refused(await api.post("/apps/nobody/secrets"), 404, "unknown_app")


async def test_an_initiator_that_cannot_be_called_fetches_and_answers_its_checks(api: Door):
    await api.send("PUT", "/apps/orders", {})
    message_id = (await api.post("/messages", {"topic": TOPIC, "payload": 1, "check_after_seconds": 0})).json()["id"]

    pulled = await api.post("/apps/orders/checks/pull", {"max": 10})
    answered = await api.post("/apps/orders/checks", {"results": [{"id": message_id, "outcome": "committed"}]})

    [check] = pulled.json()["checks"]
    assert (check["id"], check["check"]) == (message_id, 1)
    assert answered.json()["results"][0]["id"] == message_id
    assert answered.json()["results"][0]["status"] in {"pending_send", "sent"}


@pytest.mark.parametrize(
    ("result", "code", "pointer"),
    [
        ({"id": "x", "outcome": "maybe"}, "invalid_outcome", "/results/0/outcome"),
        ({"id": "x", "outcome": "unknown", "sure": True}, "unknown_field", "/results/0/sure"),
        ({"id": "x"}, "missing_field", "/results/0/outcome"),
    ],
)
async def test_a_wrong_answer_to_a_check_is_pointed_at(api: Door, result, code, pointer):
    refused(await api.post("/apps/orders/checks", {"results": [result]}), 422, code, pointer)


@pytest.mark.parametrize(
    ("body", "pointer"), [({"max": 0}, "/max"), ({"max": 101}, "/max"), ({"wait_seconds": 31}, "/wait_seconds")]
)
async def test_a_pull_has_limits(api: Door, body, pointer):
    for path in (f"/topics/{TOPIC}/subscriptions/billing/pull", "/apps/billing/checks/pull"):
        response = await api.post(path, body, app="billing")
        assert response.status_code == 422, response.text
        assert response.json()["pointer"] == pointer


async def test_only_its_owner_pulls_a_subscription(api: Door):
    path = f"/topics/{TOPIC}/subscriptions/billing/pull"

    refused(await api.post(path, app="stranger"), 404, "unknown_subscription")
    refused(await api.post(path.replace("billing", "nobody"), app="billing"), 404, "unknown_subscription")
    refused(await api.post(path.replace(TOPIC, "nothing"), app="billing"), 404, "unknown_topic")
