"""Addresses, methods, hosts and callers: what is judged before any service is asked."""

import asyncio

import httpx2
import pytest

from tests.api.door import UNKNOWN_ID, Door, refused
from tests.service.world import TOPIC


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/messages/",
        "//v1/messages",
        "/v1//messages",
        f"/v1/messages/{UNKNOWN_ID}/",
        f"/v1/messages/{UNKNOWN_ID}/explode",
        "/v1/topics/%FF",
        "/v1/operations",
        "/v2/messages",
        "/favicon.ico",
        "/.git/config",
        "/" + "a/" * 2000,
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_what_is_not_there_is_404(api: Door, method, path):
    response = await api.client.request(method, f"http://127.0.0.1{path}")

    refused(response, 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/messages", "GET, HEAD, OPTIONS, POST"),
        ("GET", f"/messages/{UNKNOWN_ID}/confirm", "OPTIONS, POST"),
        ("POST", f"/messages/{UNKNOWN_ID}", "GET, HEAD, OPTIONS"),
        ("PATCH", "/topics/t", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("BREW", "/stats", "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_405_and_says_which_are_allowed(api: Door, method, path, allow):
    response = await api.send(method, path)

    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allow


async def test_options_says_what_is_allowed(api: Door):
    response = await api.send("OPTIONS", "/messages")

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert "content-length" not in response.headers


@pytest.mark.parametrize("path", ["/v1/topics", "/livez", "/docs", "/openapi.json", "/"])
async def test_head_is_get_without_the_body(api: Door, path):
    shown = await api.client.get(path)
    head = await api.client.head(path)

    assert (head.status_code, head.content) == (shown.status_code, b"")
    assert head.headers["content-length"] == str(len(shown.content))
    assert head.headers["content-type"] == shown.headers["content-type"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8340", "127.0.0.1", "127.8.9.1:1", "[::1]", "[::1]:8340"])
async def test_loopback_hosts_are_served(api: Door, host):
    assert (await api.send("GET", "/topics", host=host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "a@localhost",
        "[::2]",
        "",
        "[",
        "\xff",
    ],
)
@pytest.mark.parametrize("path", ["/v1/topics", "/metrics", "/", "/nothing"])
async def test_other_hosts_are_refused_everywhere(api: Door, host, path):
    response = await api.client.get(path, headers={"host": host.encode("latin-1")})

    refused(response, 403, "forbidden_host")


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8340"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:8340"}, True),
        ({}, True),
    ],
)
async def test_pages_of_other_sites_change_nothing(api: Door, headers, served):
    response = await api.post("/messages", {"topic": TOPIC, "payload": 1}, **headers)

    if served:
        assert response.status_code == 201
    else:
        refused(response, 403, "cross_site")
    assert (await api.send("GET", "/topics", **headers)).status_code == 200


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "\xe9", "a,b"])
async def test_a_caller_needs_a_name_that_is_one(api: Door, name):
    response = await api.client.get("/v1/topics", headers={"aftercommit-app": name.encode("latin-1")})

    refused(response, 422, "invalid_app")


async def test_without_a_name_the_caller_is_the_operator_of_everything(api: Door):
    message_id = (await api.post("/messages", {"topic": TOPIC, "payload": 1})).json()["id"]

    shown = await api.get(f"/messages/{message_id}", app=None)
    foreign = await api.get(f"/messages/{message_id}", app="default")

    assert shown.json()["app"] == "orders"
    refused(foreign, 404, "unknown_message")


async def test_a_key_means_nothing_where_there_are_none(api: Door):
    assert (await api.send("GET", "/topics", authorization="Bearer something")).status_code == 200


@pytest.mark.parametrize("name", ["host", "content-type", "aftercommit-app", "sec-fetch-site"])
async def test_a_header_that_decides_something_stands_once(api: Door, name):
    headers = [("host", "127.0.0.1"), (name, "127.0.0.1"), (name, "evil.example")]

    refused(await api.client.get("/v1/topics", headers=headers), 400, "malformed_request")


async def test_other_headers_may_stand_twice(api: Door):
    assert (await api.client.get("/v1/topics", headers=[("x", "1"), ("x", "2")])).status_code == 200


async def test_a_pull_that_nobody_waits_for_takes_nothing(api: Door):
    told = asyncio.Event()
    answers: list[object] = []

    async def receive() -> dict[str, object]:
        if not told.is_set():
            told.set()
            return {"type": "http.request", "body": b'{"wait_seconds":30}', "more_body": False}
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    path = f"/v1/topics/{TOPIC}/subscriptions/billing/pull".encode()
    headers = [(b"aftercommit-app", b"billing"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "raw_path": path, "query_string": b"", "headers": headers}

    await api.api(scope, receive, send)

    assert answers == []
    assert api.world.observer.counted("requests_abandoned", route="/v1/topics/{topic}/subscriptions/{name}/pull") == 1
    message_id = (await api.post("/messages", {"topic": TOPIC, "payload": 1, "confirmed": True})).json()["id"]
    await api.world.clock.settle()
    pulled = await api.post(f"/topics/{TOPIC}/subscriptions/billing/pull", app="billing")
    assert [(each["id"], each["attempt"]) for each in pulled.json()["messages"]] == [(message_id, 1)]


async def test_a_pull_that_waits_is_answered_when_the_node_stops(api: Door):
    waiting = asyncio.ensure_future(
        api.post(f"/topics/{TOPIC}/subscriptions/billing/pull", {"wait_seconds": 30}, app="billing")
    )
    await api.world.clock.settle()

    api.world.services.pulling.stop()
    response = await waiting

    assert (response.status_code, response.json()) == (200, {"messages": []})


async def test_the_lifespan_of_other_servers_is_answered(api: Door):
    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    answers: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": next(messages)}

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    await api.api({"type": "lifespan"}, receive, send)

    assert [each["type"] for each in answers] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_probes_metrics_and_pages(api: Door):
    async def get(path: str) -> httpx2.Response:
        return await api.client.get(path)

    assert (await get("/livez")).text == "live\n"
    assert (await get("/readyz")).text == "ready\n"
    assert set((await get("/readyz?verbose")).json()["loops"]) >= {"dispatch", "check", "redeliver", "retention"}
    assert b"aftercommit_up" in (await get("/metrics")).content
    assert "test &lt;node&gt;" in (await get("/")).text
    assert "/v1/messages" in (await get("/docs")).text


async def test_a_node_that_goes_down_is_not_ready(api: Door):
    api.world.services.readiness.stop()

    refused(await api.client.get("/readyz"), 503, "not_ready")
    verbose = await api.client.get("/readyz?verbose")
    assert (verbose.status_code, verbose.json()["stopping"]) == (503, True)
    assert (await api.client.get("/livez")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_may_run_nothing_and_load_nothing(api: Door, path):
    response = await api.client.get(path)

    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
