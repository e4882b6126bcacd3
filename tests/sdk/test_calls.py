"""Every method of both clients: the request it makes, and the answer it reads."""

import inspect
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from aftercommit import wire
from aftercommit.sdk import AsyncClient, Client, new_message
from aftercommit.sdk.transports.port import AsyncScriptedTransport, ScriptedTransport
from tests.sdk.answering import ID, answered

SEEN = {"id": ID, "status": "seen"}
RESULTS = {"results": [{"id": ID, "status": "x"}]}
TOPIC = {
    "topic": "t",
    "app": "a",
    "paused": False,
    "subscriptions": [],
    "policy": {},
    "destination": None,
    "created_at": "2026-01-01T00:00:00.000Z",
}
APP: dict[str, Any] = {
    "app": "a",
    "check_url": None,
    "check_signed": True,
    "secrets": [],
    "created_at": "2026-01-01T00:00:00.000Z",
}
PAGE: dict[str, Any] = {"messages": [], "next_cursor": None}
PULLED: dict[str, Any] = {"messages": []}

# What takes a session of the caller's database takes an awaitable one in one client, and a blocking one in the other.
ON_SESSIONS = {"transaction", "bind"}

# name, arguments, named arguments, answer, method, path, body
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], Any, str, str, Any]] = [
    (
        "prepare",
        ("t", {"a": 1}),
        {"id": ID},
        SEEN,
        "POST",
        "/v1/messages",
        {"topic": "t", "id": ID, "payload": {"a": 1}},
    ),
    (
        "prepare",
        ("t",),
        {"id": ID, "payload_bytes": b"\x00\xff"},
        SEEN,
        "POST",
        "/v1/messages",
        {"topic": "t", "id": ID, "payload_base64": "AP8="},
    ),
    (
        "prepare",
        ("t", b""),
        {"id": ID},
        SEEN,
        "POST",
        "/v1/messages",
        {"topic": "t", "id": ID, "payload_base64": ""},
    ),
    (
        "prepare",
        ("t", None),
        {
            "id": ID,
            "key": "42",
            "headers": {"tenant": "x"},
            "content_type": "application/json",
            "deliver_at": datetime(2026, 7, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            "check_after_seconds": 1.5,
            "check_hint": "shard-3",
            "confirmed": True,
        },
        SEEN,
        "POST",
        "/v1/messages",
        {
            "topic": "t",
            "id": ID,
            "payload": None,
            "content_type": "application/json",
            "key": "42",
            "headers": {"tenant": "x"},
            "deliver_at": "2026-07-01T00:00:00.000Z",
            "check_after_seconds": 1.5,
            "check_hint": "shard-3",
            "confirmed": True,
        },
    ),
    ("confirm", (ID,), {}, SEEN, "POST", f"/v1/messages/{ID}/confirm", {}),
    ("cancel", (ID,), {}, SEEN, "POST", f"/v1/messages/{ID}/cancel", {}),
    ("cancel", (ID, "no stock"), {}, SEEN, "POST", f"/v1/messages/{ID}/cancel", {"reason": "no stock"}),
    ("complete", (ID,), {}, SEEN, "POST", f"/v1/messages/{ID}/complete", {}),
    (
        "complete",
        (ID,),
        {"subscription": "billing"},
        SEEN,
        "POST",
        f"/v1/messages/{ID}/complete",
        {"subscription": "billing"},
    ),
    ("fail", (ID, "bad sku"), {}, SEEN, "POST", f"/v1/messages/{ID}/fail", {"reason": "bad sku"}),
    ("pull", ("t", "billing"), {}, PULLED, "POST", "/v1/topics/t/subscriptions/billing/pull", {}),
    (
        "pull",
        ("a/b?", "billing"),
        {"max": 5, "wait_seconds": 20},
        PULLED,
        "POST",
        "/v1/topics/a%2Fb%3F/subscriptions/billing/pull",
        {"max": 5, "wait_seconds": 20},
    ),
    (
        "prepare_batch",
        ([new_message("t", 1, {"id": ID})],),
        {},
        RESULTS,
        "POST",
        "/v1/batch/prepare",
        {"items": [{"topic": "t", "id": ID, "payload": 1}]},
    ),
    ("confirm_batch", ([ID],), {}, RESULTS, "POST", "/v1/batch/confirm", {"items": [{"id": ID}]}),
    ("cancel_batch", ([ID], "why"), {}, RESULTS, "POST", "/v1/batch/cancel", {"items": [{"id": ID, "reason": "why"}]}),
    (
        "complete_batch",
        ([wire.CompleteItem(id=ID, subscription="s")],),
        {},
        RESULTS,
        "POST",
        "/v1/batch/complete",
        {"items": [{"id": ID, "subscription": "s"}]},
    ),
    ("fail_batch", ([ID], "why"), {}, RESULTS, "POST", "/v1/batch/fail", {"items": [{"id": ID, "reason": "why"}]}),
    ("status_batch", ([ID],), {}, RESULTS, "POST", "/v1/batch/status", {"items": [{"id": ID}]}),
    (
        "messages_page",
        (),
        {"status": "sent", "since": datetime(2026, 7, 1, tzinfo=UTC), "q": "a b", "limit": 7},
        PAGE,
        "GET",
        "/v1/messages?status=sent&since=2026-07-01T00%3A00%3A00.000Z&q=a+b&limit=7",
        None,
    ),
    ("messages_page", ("12~ab",), {}, PAGE, "GET", "/v1/messages?cursor=12~ab", None),
    ("stats", (), {}, {"messages": [], "totals": {}, "rates": {}}, "GET", "/v1/stats", None),
    ("topic", ("t",), {}, TOPIC, "GET", "/v1/topics/t", None),
    ("topics", (), {}, {"topics": []}, "GET", "/v1/topics", None),
    (
        "put_topic",
        ("t",),
        {
            "subscriptions": ["billing", wire.SubscriptionRequest(name="stock", app="shop")],
            "policy": {"deliveries_max": 5},
            "force": True,
        },
        TOPIC,
        "PUT",
        "/v1/topics/t",
        {
            "subscriptions": [{"name": "billing"}, {"name": "stock", "app": "shop"}],
            "policy": {"deliveries_max": 5},
            "force": True,
        },
    ),
    ("put_topic", ("t",), {}, TOPIC, "PUT", "/v1/topics/t", {}),
    ("pause", ("t",), {}, TOPIC, "POST", "/v1/topics/t/pause", {}),
    ("resume", ("t",), {}, TOPIC, "POST", "/v1/topics/t/resume", {}),
    (
        "put_app",
        ("a",),
        {"check_url": "http://127.0.0.1/x", "check_signed": False},
        APP,
        "PUT",
        "/v1/apps/a",
        {"check_url": "http://127.0.0.1/x", "check_signed": False},
    ),
    ("app", ("a",), {}, APP, "GET", "/v1/apps/a", None),
    ("add_secret", ("a",), {}, {"id": "1", "created_at": "x", "secret": "s"}, "POST", "/v1/apps/a/secrets", {}),
    (
        "resolve",
        (ID, "committed", "saw it"),
        {},
        SEEN,
        "POST",
        f"/v1/messages/{ID}/resolve",
        {"outcome": "committed", "reason": "saw it"},
    ),
    ("recheck", (ID,), {}, SEEN, "POST", f"/v1/messages/{ID}/recheck", {}),
    ("redeliver", (ID,), {}, SEEN, "POST", f"/v1/messages/{ID}/redeliver", {}),
    (
        "redeliver",
        (ID, ("billing",), "fixed"),
        {},
        SEEN,
        "POST",
        f"/v1/messages/{ID}/redeliver",
        {"subscriptions": ["billing"], "reason": "fixed"},
    ),
    ("discard", (ID, "obsolete"), {}, SEEN, "POST", f"/v1/messages/{ID}/discard", {"reason": "obsolete"}),
    ("pull_checks", ("a",), {"max": 3}, {"checks": []}, "POST", "/v1/apps/a/checks/pull", {"max": 3}),
    (
        "answer_checks",
        ("a", [wire.CheckResult(id=ID, outcome="unknown")]),
        {},
        RESULTS,
        "POST",
        "/v1/apps/a/checks",
        {"results": [{"id": ID, "outcome": "unknown"}]},
    ),
    ("delete_topic", ("t",), {}, {}, "DELETE", "/v1/topics/t", None),
    ("ready", (), {}, {}, "GET", "/readyz", None),
]
TABLE = pytest.mark.parametrize(
    ("name", "arguments", "named", "answer", "method", "path", "body"),
    CALLS,
    ids=[f"{each[0]}-{index}" for index, each in enumerate(CALLS)],
)


@TABLE
def test_a_call_of_the_blocking_client_makes_this_request(name, arguments, named, answer, method, path, body):
    transport = ScriptedTransport([answered(answer)])

    getattr(Client(transport=transport), name)(*arguments, **named)

    [request] = transport.requests
    _assert_request(request, method, path, body)


@TABLE
async def test_a_call_of_the_awaitable_client_makes_the_same(name, arguments, named, answer, method, path, body):
    transport = AsyncScriptedTransport([answered(answer)])

    await getattr(AsyncClient(transport=transport), name)(*arguments, **named)

    [request] = transport.requests
    _assert_request(request, method, path, body)


def _assert_request(request, method, path, body):
    assert (request.method, request.url) == (method, f"http://127.0.0.1:8340{path}")
    assert (msgspec.json.decode(request.body) if request.body else None) == body
    assert request.headers.get("content-type") == ("application/json" if request.body else None)


def test_both_clients_have_the_same_methods_with_the_same_arguments():
    blocking, awaitable = _methods(Client), _methods(AsyncClient)

    assert blocking == awaitable
    assert blocking.keys() == {each[0] for each in CALLS} | {"close", "message", "messages", "probe", *ON_SESSIONS}


def _methods(client):
    return {
        name: _arguments(method, typed=name not in ON_SESSIONS)
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


def _arguments(method, *, typed):
    arguments = inspect.signature(method).parameters.values()
    return list(arguments) if typed else [each.name for each in arguments]
