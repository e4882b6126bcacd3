"""Requests that are broken, hostile, huge or slow below the level of JSON: refused or hung up on, disturbing nobody."""

import socket
import time

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from tests.e2e.caller import Caller
from tests.e2e.heartbeat import undisturbed
from tests.e2e.names import new_id
from tests.e2e.node import Node
from tests.e2e.raw_http import Wire, request, talk
from tests.e2e.waiting import InBackground

GOOD = b'{"topic": "raw", "payload": 1}'


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonp",
        "json",
        "text/json",
    ],
)
def test_another_media_type_is_415(orders: Caller, media_type: str) -> None:
    orders.call("POST", "/v1/messages", GOOD, {"Content-Type": media_type}).refused(415)


def test_no_media_type_is_415(node: Node) -> None:
    lines = [b"POST /v1/messages HTTP/1.1", b"Host: localhost", b"Connection: close", b"Content-Length: %d" % len(GOOD)]
    answer = talk(node.port, b"\r\n".join([*lines, b"", GOOD])).answers[0]
    answer.refused(415)


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
def test_json_may_be_named_in_any_of_its_spellings(orders: Caller, media_type: str) -> None:
    orders.call("POST", "/v1/messages", GOOD, {"Content-Type": media_type}).require(201)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "x"])
def test_a_compressed_body_is_415(orders: Caller, encoding: str) -> None:
    orders.call("POST", "/v1/messages", GOOD, {"Content-Encoding": encoding}).refused(415)
    orders.call("POST", "/v1/batch/prepare", b"\x1f\x8b" + bytes(100), {"Content-Encoding": encoding}).refused(415)


def test_fifty_megabytes_are_refused_and_disturb_nobody(node: Node, orders: Caller) -> None:
    body = b'{"topic": "t", "payload": "' + b"x" * 50_000_000 + b'"}'
    with undisturbed(node):
        for path in ("/v1/messages", "/v1/batch/prepare", f"/v1/messages/{new_id()}/cancel"):
            with Wire(node.port) as wire:
                head = request("POST", path, b"", f"Content-Length: {len(body)}")
                wire.send(head)
                wire.send(body)
                answers = wire.read_to_end().answers
            # A server that hangs up on the sender may lose its answer on the way; what comes must be right.
            assert len(answers) <= 1
            for answer in answers:
                answer.refused(413)


def test_a_body_announced_too_large_is_refused_before_it_is_sent(node: Node) -> None:
    with Wire(node.port, 5) as wire:
        wire.send(request("POST", "/v1/messages", b"", "Content-Length: 50000000", "Expect: 100-continue"))
        assert [each.refused(413)["status"] for each in wire.read_to_end().answers] == [413]


def test_endless_chunks_are_refused_and_not_kept(node: Node) -> None:
    process = psutil.Process(node.pid)
    memory_before = process.memory_info().rss
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    until = time.monotonic() + 10
    with undisturbed(node), Wire(node.port) as wire:
        wire.send(request("POST", "/v1/messages", b"", "Transfer-Encoding: chunked"))
        while wire.send(chunk):
            assert time.monotonic() < until, "The node reads what it refused for ever."
        # The end of an answer may be lost to a client that goes on sending.
        received = wire.read_to_end().received
    assert received == b"" or received.startswith(b"HTTP/1.1 413 ")
    assert process.memory_info().rss - memory_before < 30_000_000


def test_chunks_are_a_body_like_any_other(node: Node) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (GOOD[:9], GOOD[9:])) + b"0\r\n\r\n"
    exchange = talk(node.port, request("POST", "/v1/messages", chunks, "Transfer-Encoding: chunked"))
    assert [each.status for each in exchange.answers] == [201]


BROKEN: dict[str, bytes] = {
    "noise": bytes(range(256)) * 4,
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "version 9": b"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no colon": b"GET /livez HTTP/1.1\r\nHost localhost\r\n\r\n",
    "blank in a name": b"GET /livez HTTP/1.1\r\nHost: localhost\r\na b: c\r\n\r\n",
    "NUL in a header": b"GET /livez HTTP/1.1\r\nHost: localhost\r\na: b\x00c\r\n\r\n",
    "negative length": request("POST", "/v1/messages", GOOD, "Content-Length: -1"),
    "length no number": request("POST", "/v1/messages", GOOD, "Content-Length: many"),
    "length of 30 digits": request("POST", "/v1/messages", GOOD, "Content-Length: " + "9" * 30),
    "two lengths": request("POST", "/v1/messages", GOOD, "Content-Length: 5", f"Content-Length: {len(GOOD)}"),
    "length and chunks": request(
        "POST", "/v1/messages", b"0\r\n\r\n" + GOOD, "Content-Length: 5", "Transfer-Encoding: chunked"
    ),
    "unknown transfer encoding": request("POST", "/v1/messages", GOOD, "Transfer-Encoding: gzip"),
    "a bad chunk": request("POST", "/v1/messages", b"zz\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "a huge chunk length": request("POST", "/v1/messages", b"f" * 40 + b"\r\n{}", "Transfer-Encoding: chunked"),
    "a huge header": b"GET /livez HTTP/1.1\r\nHost: localhost\r\na: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "a huge request line": b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many headers": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    + b"".join(b"h%d: v\r\n" % n for n in range(20_000))
    + b"\r\n",
    "an endless header": b"GET /livez HTTP/1.1\r\nHost: localhost\r\na: " + b"x" * 5_000_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused_or_hung_up_on(node: Node, name: str) -> None:
    with undisturbed(node):
        exchange = talk(node.port, BROKEN[name], timeout_seconds=12, finish=name in {"noise", "a TLS hello"})

    assert exchange.closed, "A connection that broke the protocol must be closed."
    for answer in exchange.answers:
        assert 400 <= answer.status < 500 or answer.status == 505, answer


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("BREW", "/v1/messages", (400, 405, 501)),
        ("DELETE", "/v1/messages", (405,)),
        ("GET", "/v1/messages/x/confirm", (404, 405)),
        ("PATCH", "/v1/topics/t", (405,)),
        ("TRACE", "/", (400, 405, 501)),
        ("CONNECT", "localhost:1", (400, 404, 405, 501)),
        ("GET", "/v2/messages", (404,)),
        ("GET", "/v1/", (404,)),
        ("GET", "//v1//messages", (400, 404)),
        ("GET", "/v1/messages/../../etc/passwd", (400, 404)),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", (400, 404)),
        ("GET", "/livez%00", (400, 404)),
        ("GET", "/\xff", (400, 404)),
    ],
)
def test_there_is_nothing_at_other_addresses(node: Node, method: str, path: str, statuses: tuple[int, ...]) -> None:
    exchange = talk(node.port, request(method, path), timeout_seconds=12)

    assert exchange.closed
    for answer in exchange.answers:
        assert answer.status in statuses
        if method != "CONNECT":
            answer.refused(*statuses)


def test_garbage_after_a_request_does_not_spoil_its_answer(node: Node) -> None:
    good = request("POST", "/v1/messages", GOOD).replace(b"Connection: close\r\n", b"")

    exchange = talk(node.port, good + b"\x00\xff garbage\r\n\r\n" * 10)

    assert exchange.closed
    statuses = [each.status for each in exchange.answers]
    assert statuses[0] == 201
    assert all(400 <= each < 500 for each in statuses[1:])


def test_pipelined_requests_are_answered_in_order(node: Node) -> None:
    ids = [new_id() for _ in range(20)]
    bodies = [b'{"topic": "raw", "payload": 1, "id": "%b"}' % each.encode() for each in ids]
    requests = [request("POST", "/v1/messages", each).replace(b"Connection: close\r\n", b"") for each in bodies]

    exchange = talk(node.port, b"".join(requests) + request("GET", "/livez"))

    answers = exchange.answers
    assert [each.status for each in answers] == [201] * 20 + [200]
    assert [each.json["id"] for each in answers[:-1]] == ids


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(node: Node) -> None:
    whole = request("POST", "/v1/messages", GOOD)
    with undisturbed(node):
        for length in range(0, len(whole), 7):
            with Wire(node.port) as wire:
                wire.send(whole[:length])
        for _ in range(20):
            with Wire(node.port) as wire:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                wire.send(whole)


def test_many_idle_connections_disturb_nobody(node: Node) -> None:
    wires = [Wire(node.port) for _ in range(200)]
    try:
        with undisturbed(node):
            for wire in wires:
                wire.send(b"GET /livez HTTP/1.1\r\n")
            time.sleep(0.5)
    finally:
        for wire in wires:
            wire.socket.close()


@pytest.mark.slow
def test_a_request_sent_one_byte_per_second_is_given_up_after_ten_seconds(node: Node) -> None:
    """Three slow senders at once: a slow head, a slow body, and a body that never comes."""
    whole = request("POST", "/v1/messages", GOOD)
    head_length = whole.index(b"\r\n\r\n") + 4

    def send_slowly(at_once: int, slowly: bool) -> float:
        began = time.monotonic()
        with Wire(node.port, timeout_seconds=0.5) as wire:
            wire.send(whole[:at_once])
            for index in range(at_once, len(whole)):
                if slowly and not wire.send(whole[index : index + 1]):
                    break
                exchange = wire.read_to_end()
                if exchange.received or exchange.closed:
                    for answer in exchange.answers:
                        answer.refused(408)
                    break
                time.sleep(0.5)
            return time.monotonic() - began

    with (
        undisturbed(node),
        InBackground(lambda: send_slowly(5, True)) as slow_head,
        InBackground(lambda: send_slowly(head_length, True)) as slow_body,
        InBackground(lambda: send_slowly(head_length + 3, False)) as no_body,
    ):
        for each in (slow_head, slow_body, no_body):
            assert 8 < each.result() < 14
