"""What initiators and consumers say about one message, and every way it is refused."""

import msgspec
import pytest

from tests.api.door import UNKNOWN_ID, Door, refused
from tests.service.world import TOPIC

MESSAGE = {"topic": TOPIC, "payload": {"order": 42}}


async def prepared(api: Door, **fields: object) -> str:
    response = await api.post("/messages", {**MESSAGE, **fields})
    assert response.status_code == 201, response.text
    return response.json()["id"]


async def delivered(api: Door) -> str:
    message_id = await prepared(api, confirmed=True)
    await api.world.clock.settle()
    pulled = await api.post(f"/topics/{TOPIC}/subscriptions/billing/pull", {"max": 10}, app="billing")
    assert message_id in {each["id"] for each in pulled.json()["messages"]}
    return message_id


async def test_prepare_answers_201_and_its_repetition_200(api: Door):
    message = {**MESSAGE, "id": api.world.new_id()}

    first = await api.post("/messages", message)
    second = await api.post("/messages", message)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json() == {"id": message["id"], "status": "pending_confirmation"}
    assert first.headers["content-type"] == "application/json"


async def test_a_whole_life(api: Door):
    message_id = await prepared(api)

    confirmed = await api.post(f"/messages/{message_id}/confirm")
    await api.world.clock.settle()
    pulled = await api.post(f"/topics/{TOPIC}/subscriptions/billing/pull", b'{"max":1,"wait_seconds":0}', app="billing")
    completed = await api.post(f"/messages/{message_id}/complete", {"subscription": "billing"}, app="billing")

    assert confirmed.json()["status"] in {"pending_send", "sent"}
    [message] = pulled.json()["messages"]
    assert (message["id"], message["payload"], message["attempt"]) == (message_id, {"order": 42}, 1)
    assert completed.json() == {"id": message_id, "status": "completed"}


async def test_a_json_payload_comes_back_byte_for_byte(api: Door):
    value = b'{"b" : 1.50,"a":[1e2 ],"\\u00e9":"\xc3\xa9\\/"}'

    made = await api.post("/messages", b'{"topic":"%s","payload": %s }' % (TOPIC.encode(), value))
    shown = await api.get(f"/messages/{made.json()['id']}")

    assert b'"payload":' + value in shown.content


@pytest.mark.parametrize("verb", ["confirm", "cancel", "complete"])
@pytest.mark.parametrize("body", [None, b"", b"{}", b" { } \n"])
async def test_an_empty_body_is_an_empty_object(api: Door, verb, body):
    message_id = await (delivered(api) if verb == "complete" else prepared(api))

    response = await api.post(f"/messages/{message_id}/{verb}", body, app="billing" if verb == "complete" else "orders")

    assert response.status_code == 200, response.text


async def test_curl_without_a_body_may_confirm_although_it_claims_a_form(api: Door):
    message_id = await prepared(api)

    response = await api.post(
        f"/messages/{message_id}/confirm", b"", content_type="application/x-www-form-urlencoded", content_length="0"
    )

    assert response.status_code == 200


async def test_a_prepare_with_other_content_is_refused(api: Door):
    message_id = await prepared(api, id=api.world.new_id())

    response = await api.post("/messages", {**MESSAGE, "id": message_id, "key": "other"})

    assert refused(response, 409, "id_conflict")["message_status"] == "pending_confirmation"


async def test_a_prepare_after_its_cancel_is_refused(api: Door):
    message_id = api.world.new_id()
    await api.post(f"/messages/{message_id}/cancel", {"reason": "out of stock"})

    response = await api.post("/messages", {**MESSAGE, "id": message_id})

    assert refused(response, 409, "rolled_back")["message_status"] == "rolled_back"


async def test_a_cancel_after_confirm_is_refused(api: Door):
    message_id = await prepared(api, confirmed=True)

    refused(await api.post(f"/messages/{message_id}/cancel"), 409, "already_confirmed")


async def test_a_confirm_after_cancel_is_refused(api: Door):
    message_id = await prepared(api)
    await api.post(f"/messages/{message_id}/cancel")

    refused(await api.post(f"/messages/{message_id}/confirm"), 409, "rolled_back")


async def test_a_report_before_delivery_is_refused(api: Door):
    message_id = await prepared(api)

    refused(await api.post(f"/messages/{message_id}/complete", app="billing"), 409, "not_delivered")


async def test_contradicting_reports_are_refused(api: Door):
    message_id = await delivered(api)
    await api.post(f"/messages/{message_id}/complete", app="billing")

    response = await api.post(f"/messages/{message_id}/fail", {"reason": "no such order"}, app="billing")

    assert refused(response, 409, "invalid_transition")["message_status"] == "completed"


async def test_a_subscription_that_the_message_does_not_have_is_pointed_at(api: Door):
    message_id = await delivered(api)

    response = await api.post(f"/messages/{message_id}/complete", {"subscription": "audit"}, app="billing")

    refused(response, 422, "unknown_subscription", "/subscription")


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("confirm", None),
        ("complete", None),
        ("fail", {"reason": "x"}),
        ("resolve", {"outcome": "committed", "reason": "x"}),
        ("recheck", None),
        ("redeliver", None),
        ("discard", {"reason": "x"}),
    ],
)
async def test_what_is_unknown_and_what_is_somebody_elses_look_the_same(api: Door, verb, body):
    message_id = await prepared(api)

    unknown = await api.post(f"/messages/{UNKNOWN_ID}/{verb}", body, app="stranger")
    foreign = await api.post(f"/messages/{message_id}/{verb}", body, app="stranger")

    problems = [refused(each, 404, "unknown_message") for each in (unknown, foreign)]
    assert problems[0] == {**problems[1], "detail": problems[1]["detail"].replace(message_id, UNKNOWN_ID)}


async def test_a_message_of_another_application_cannot_be_read(api: Door):
    message_id = await prepared(api)

    refused(await api.get(f"/messages/{message_id}", app="stranger"), 404, "unknown_message")
    refused(await api.get(f"/messages/{UNKNOWN_ID}", app="stranger"), 404, "unknown_message")


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "nil",
        UNKNOWN_ID.upper(),
        f"{{{UNKNOWN_ID}}}",
        UNKNOWN_ID.replace("-", ""),
        f"{UNKNOWN_ID}%00",
        "%00",
        "a" * 3000,
    ],
)
async def test_an_id_that_is_not_written_as_ids_are_does_not_exist(api: Door, text):
    refused(await api.get(f"/messages/{text}"), 404, "unknown_message")
    refused(await api.post(f"/messages/{text}/confirm"), 404, "unknown_message")


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"id": "nil"}, "invalid_id", "/id"),
        ({"id": "00000000-0000-7000-8000-000000000001"}, "id_out_of_range", "/id"),
        ({"topic": "no spaces"}, "invalid_topic", "/topic"),
        ({"payload_base64": "AAAA"}, "invalid_payload", "/payload"),
        ({"headers": {"ce-id": "1"}}, "invalid_headers", "/headers/ce-id"),
        ({"headers": {"x": "a\r\nb"}}, "invalid_headers", "/headers/x"),
        ({"key": "a\x00b"}, "invalid_key", "/key"),
        ({"delay_seconds": -1}, "invalid_delay", "/delay_seconds"),
        ({"delay_seconds": 2.0**63}, "invalid_delay", "/delay_seconds"),
        ({"deliver_at": "9999-99-99"}, "invalid_delay", "/delay_seconds"),
        ({"colour": "red"}, "unknown_field", "/colour"),
        ({"confirmed": 1}, "invalid_field", "/confirmed"),
    ],
)
async def test_a_wrong_field_of_a_prepare_is_pointed_at(api: Door, fields, code, pointer):
    response = await api.post("/messages", {**MESSAGE, **fields})

    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code), problem
    assert problem["pointer"] == pointer or fields.keys() == {"deliver_at"}


async def test_a_payload_over_256_kib_is_too_large(api: Door):
    response = await api.post("/messages", {**MESSAGE, "payload": "x" * (256 * 1024)})

    refused(response, 413, "payload_too_large", "/payload")


async def test_a_payload_may_nest_32_deep_and_no_deeper(api: Door):
    async def nested(depth: int):
        return await api.post("/messages", b'{"topic":"t","payload":' + b"[" * depth + b"]" * depth + b"}")

    assert (await nested(32)).status_code == 201
    refused(await nested(33), 422, "payload_too_deep", "/payload")
    refused(await nested(100_000), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"", b"{", b"nul", b'{"topic":"t","payload":NaN}', b"\xff", b"[" * 200_000])
async def test_a_body_that_is_not_json_is_400(api: Door, body):
    refused(await api.post("/messages", body), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"null", b"[]", b"1", b'"x"'])
@pytest.mark.parametrize("path", ["/messages", f"/messages/{UNKNOWN_ID}/confirm", "/batch/confirm"])
async def test_a_body_that_is_no_object_is_422(api: Door, path, body):
    refused(await api.post(path, body), 422, "invalid_field", "")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonx", ""],
)
async def test_another_media_type_is_415(api: Door, content_type):
    response = await api.post("/messages", MESSAGE, content_type=content_type)

    refused(response, 415, "unsupported_media_type")
    assert response.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", 'APPLICATION/JSON;charset="UTF-8"', "application/json ;"]
)
async def test_json_may_be_spelled_in_full(api: Door, content_type):
    assert (await api.post("/messages", MESSAGE, content_type=content_type)).status_code == 201


@pytest.mark.parametrize(
    ("encoding", "status"), [("gzip", 415), ("br", 415), ("gzip, identity", 415), ("identity", 201)]
)
async def test_a_compressed_body_is_415(api: Door, encoding, status):
    response = await api.post("/messages", MESSAGE, content_encoding=encoding)

    assert response.status_code == status
    if status == 415:
        refused(response, 415, "unsupported_encoding")


@pytest.mark.parametrize("path", ["/messages", f"/messages/{UNKNOWN_ID}/cancel"])
async def test_a_single_body_over_1_mib_is_413(api: Door, path):
    refused(await api.post(path, b" " * (1024 * 1024 + 1)), 413, "body_too_large")


async def test_a_trace_context_travels_with_the_message(api: Door):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    good = await api.post("/messages", {**MESSAGE, "confirmed": True}, traceparent=trace)
    bad = await api.post("/messages", {**MESSAGE, "confirmed": True}, traceparent="00-zz")

    stored = [await api.world.store.get(each.json()["id"]) for each in (good, bad)]
    assert [each and each.content and each.content.traceparent for each in stored] == [trace, None]


async def test_what_a_service_breaks_on_is_500_and_says_nothing(api: Door, monkeypatch, caplog):
    async def broken(*_: object) -> None:
        raise RuntimeError("secret of the database")

    monkeypatch.setattr(api.world.services.intake, "prepare", broken)

    response = await api.post("/messages", MESSAGE)

    refused(response, 500, "internal_error")
    assert b"secret" not in response.content


async def test_a_store_that_is_gone_is_503_with_retry_after(api: Door, monkeypatch):
    from aftercommit.domain.errors import StoreUnavailable

    async def gone(*_: object) -> None:
        raise StoreUnavailable("The database does not answer.", retry_after_seconds=7)

    monkeypatch.setattr(api.world.services.intake, "prepare", gone)

    response = await api.post("/messages", MESSAGE)

    refused(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "7"


async def test_an_overloaded_node_sheds_prepare_first(api: Door, monkeypatch):
    monkeypatch.setattr(api.world.node.gatherer, "_waiting_items", 15_000)

    refused(await api.post("/messages", MESSAGE), 503, "overloaded")
    assert msgspec.json.decode((await api.get("/topics")).content)["topics"]


async def test_requests_are_counted_by_route_and_never_by_path(api: Door):
    message_id = await prepared(api)
    await api.post(f"/messages/{message_id}/confirm")
    await api.get("/nothing/here")
    await api.send("BREW", f"/messages/{message_id}")

    observer = api.world.observer
    assert observer.counted("requests", route="/v1/messages/{id}/confirm", method="POST", status="200") == 1
    assert observer.counted("requests", route="none", method="GET", status="404") == 1
    assert observer.counted("requests", route="/v1/messages/{id}", method="none", status="405") == 1
    labels = str(observer.counts) + str(observer.values)
    assert message_id not in labels
    assert "BREW" not in labels
