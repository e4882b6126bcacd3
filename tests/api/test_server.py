"""The server against clients that send much, oddly, or no HTTP at all."""

import http.client
import json
import socket

import httpx2
import pytest

from tests.api.serving import GET, HEAD, PREPARE, Serving, post, problem, serving


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def node(request):
    """The whole API behind a real server, on each event loop."""
    with serving(loop=request.param) as running:
        yield running


def test_a_connection_is_kept_for_many_requests(node: Serving):
    with node.connect() as line:
        for _ in range(3):
            line.send(post(PREPARE))
            status, headers, body = line.response()
            assert (status, json.loads(body)["status"]) == (201, "pending_confirmation")
            assert "server" not in headers
            assert headers["date"].endswith("gmt")


def test_requests_sent_together_are_answered_in_order(node: Serving):
    with node.connect() as line:
        line.send(GET + post(PREPARE) + post(b"{") + post(PREPARE, length=len(PREPARE)) + GET)
        statuses = [line.response()[0] for _ in range(5)]

    assert statuses == [200, 201, 400, 201, 200]


def test_a_request_may_come_in_single_bytes(node: Serving):
    with node.connect() as line:
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(PREPARE):
            line.send(bytes([byte]))
        assert line.response()[0] == 201


def test_a_chunked_body_is_read(node: Serving):
    with node.connect() as line:
        line.send(post(b"", b"Transfer-Encoding: chunked", length=-1) + b"5\r\n%b\r\n" % PREPARE[:5])
        line.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(PREPARE) - 5, PREPARE[5:]))
        assert line.response()[0] == 201


def test_a_client_that_asks_first_is_told_to_continue(node: Serving):
    with node.connect() as line:
        line.send(post(b"", b"Expect: 100-continue", length=len(PREPARE)))
        assert line.response()[0] == 100
        line.send(PREPARE)
        assert line.response()[0] == 201


def test_a_client_that_asks_first_is_told_that_it_is_too_large(node: Serving):
    with node.connect() as line:
        line.send(post(b"", b"Expect: 100-continue", length=10**9))
        assert problem(line.response(), 413, "body_too_large")["connection"] == "close"
        assert line.is_closed()


def test_http_1_0_is_answered_and_closed(node: Serving):
    answer = node.ask(b"GET /livez HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


def test_the_last_wish_of_a_client_is_respected(node: Serving):
    assert node.ask(b"GET /livez HTTP/1.1\r\nConnection: close\r\n", HEAD, b"\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_an_upgrade_is_not_taken(node: Serving, upgrade):
    asked = b"GET /livez HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: %b\r\n" % upgrade

    with node.connect() as line:
        line.send((asked + HEAD + b"\r\n") * 2)
        assert [line.response()[0] for _ in range(2)] == [200, 200]


def test_many_wishes_for_an_upgrade_are_answered_one_by_one(node: Serving):
    asked = b"GET /livez HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" + HEAD + b"\r\n"

    with node.connect() as line:
        line.send(asked * 2000)
        assert {line.response()[0] for _ in range(2000)} == {200}


def test_a_body_with_an_upgrade_is_read(node: Serving):
    wish = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )

    with node.connect() as line:
        line.send(post(PREPARE, *wish) + post(PREPARE, *wish)[:-5])
        assert line.response()[0] == 201
        line.send(PREPARE[-5:] + GET)
        assert line.response()[0] == 201
        assert line.response()[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA\x00b: c\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_not_http_is_400_and_closed(node: Serving, garbage):
    with node.connect() as line:
        line.send(garbage)
        problem(line.response(), 400, "malformed_request")
        assert line.is_closed()


def test_garbage_behind_a_request_does_not_spoil_its_answer(node: Serving):
    with node.connect() as line:
        line.send(GET + b"\x00\x00\x00\r\n\r\n")
        assert line.response()[0] == 200
        line.rest()


@pytest.mark.parametrize(
    "target", [b"*", b"http://127.0.0.1/livez", b"http://[/", b"127.0.0.1:80", b"/livez#x", b"/%", b"/%00", b"/v1/%zz"]
)
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"CONNECT"])
def test_odd_targets_are_answered(node: Serving, method, target):
    answer = node.ask(b"%b %b HTTP/1.1\r\nConnection: close\r\n" % (method, target), HEAD, b"\r\n")

    assert answer[9:12] in {b"200", b"204", b"400", b"404", b"405"}, answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HEAD,
        b"GET /livez HTTP/1.1\r\n" + HEAD + b"X: " + b"a" * 40_000 + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + HEAD + b"".join(b"X%d: a\r\n" % n for n in range(101)),
        b"GET /livez HTTP/1.1\r\n" + HEAD + b"".join(b"X%d: a\r\n" % n for n in range(100_000)),
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HEAD,
    ],
    ids=["path", "header", "fields", "headers", "huge"],
)
def test_a_head_that_is_too_large_is_431(node: Serving, head):
    with node.connect() as line:
        line.send(head + b"\r\n")
        problem(line.response(), 431, "header_too_large")
        assert line.is_closed()


def test_large_heads_within_the_limit_are_read(node: Serving):
    with node.connect() as line:
        line.send(b"GET /livez HTTP/1.1\r\n" + HEAD + b"X: " + b"a" * 30_000 + b"\r\n\r\n")
        assert line.response()[0] == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/batch/prepare", "/nothing"])
def test_a_client_that_sends_50_mb_reads_why_not(node: Serving, path):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    connection.request("POST", path, b" " * 50_000_000, {"Content-Type": "application/json"})
    response = connection.getresponse()

    assert response.status == (404 if path == "/nothing" else 413)
    assert response.read()
    # The rest was let go: the connection goes on.
    connection.request("GET", "/livez")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_client_that_streams_50_mb_reads_why_not(node: Serving):
    def pieces():
        for _ in range(50):
            yield b" " * 1_000_000

    with httpx2.Client(base_url=f"http://127.0.0.1:{node.port}", timeout=20) as client:
        response = client.post("/v1/messages", content=pieces(), headers={"content-type": "application/json"})
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert client.get("/livez").status_code == 200


def test_a_client_that_closes_after_50_mb_reads_why_not(node: Serving):
    with node.connect() as line:
        line.send(post(b" " * 50_000_000, b"Connection: close"))
        problem(line.response(), 413, "body_too_large")
        assert line.is_closed()


def test_a_batch_of_8_mib_is_read(node: Serving):
    with node.connect() as line:
        line.send(post(b'{"items":[]' + b" " * 8_000_000 + b"}", path=b"/v1/batch/confirm"))
        assert line.response()[0] == 200
