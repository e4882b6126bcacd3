"""HTTP/1.1 as bytes: what is written, and what is made of answers in pieces, of every shape, and of none."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.transports import http11
from aftercommit.sdk.transports.http11 import AnswerReader, located, written


def read(*pieces):
    """The answer after the last piece, and its reader."""
    reader = AnswerReader()
    answer = None
    for piece in pieces:
        answer = reader.feed(piece)
    return answer, reader


def request(url="http://host:8340/v1/x", method="POST", body=b"{}", **headers):
    return Request(method, url, headers, body, 1)


def bytes_of(asked):
    return written(asked, *located(asked.url))


def test_a_request_is_written_with_its_host_its_fields_and_its_length():
    assert bytes_of(request(accept="a/b")) == (
        b"POST /v1/x HTTP/1.1\r\nhost: host:8340\r\naccept-encoding: identity\r\n"
        b"accept: a/b\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("method", "body", "has_length"), [("GET", b"", False), ("DELETE", b"", False), ("POST", b"", True)]
)
def test_only_what_may_have_a_body_says_how_long_it_is(method, body, has_length):
    assert (b"content-length" in bytes_of(request(method=method, body=body))) is has_length


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "target"),
    [
        ("http://a.b", "a.b", 80, "a.b", "/"),
        ("https://a.b/p/q?r=1", "a.b", 443, "a.b", "/p/q?r=1"),
        ("http://[::1]:1/x", "::1", 1, "[::1]:1", "/x"),
        ("http://bücher:1/x", "xn--bcher-kva", 1, "xn--bcher-kva:1", "/x"),
    ],
)
def test_a_url_says_where_to_go_and_what_to_ask(url, host, port, authority, target):
    place, asked = located(url)

    assert (place.host, place.port, place.authority, asked) == (host, port, authority, target)
    assert place.is_secure is url.startswith("https")


@pytest.mark.parametrize(
    "wrong", [{"url": "http://h/a b"}, {"url": "http://h/a\r\nx: y"}, {"x": "a\r\nb: c"}, {"x": "a\nb"}]
)
def test_what_would_be_more_than_one_request_is_not_written(wrong):
    with pytest.raises(ValueError, match="line breaks"):
        bytes_of(request(**wrong))


PLAIN = b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 4\r\n\r\nbody"
CHUNKED = b"HTTP/1.1 201 Created\r\nX-A: 1, 2\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n3\r\nody\r\n0\r\n\r\n"
AFTER_HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-a: no\r\n\r\n" + PLAIN


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED, AFTER_HINTS])
@given(data=st.data())
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(answer, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    edges = [0, *cuts, len(answer)]
    pieces = [answer[start:end] for start, end in pairwise(edges) if start < end]

    found, reader = read(*pieces)

    assert found is not None
    assert (found.status, found.body, found.headers["x-a"]) == (201, b"body", "1, 2")
    assert reader.is_reusable


def test_an_answer_without_a_length_ends_with_the_connection():
    found, reader = read(b"HTTP/1.1 200 OK\r\n\r\nbo", b"dy", b"")

    assert found is not None
    assert found.body == b"body"
    assert not reader.is_reusable


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_connection_that_the_service_will_close_is_not_used_again(last):
    found, reader = read(last)

    assert found is not None
    assert not reader.is_reusable


@pytest.mark.parametrize("excess", [PLAIN, b"garbage"])
def test_what_comes_after_the_answer_neither_changes_it_nor_is_taken_for_the_next(excess):
    found, reader = read(PLAIN + excess)

    assert found is not None
    assert (found.status, found.body, found.headers["x-a"]) == (201, b"body", "1, 2")
    assert not reader.is_reusable


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b""], "the connection was closed"),
        ([b"HTTP/1.1 200 OK\r\ncontent-le", b""], "in the middle"),
        ([PLAIN[:-1], b""], "in the middle"),
        ([CHUNKED[:-5], b""], "in the middle"),
        ([b"SSH-2.0-OpenSSH\r\n"], "not HTTP"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], "not HTTP"),
    ],
)
def test_what_is_no_complete_answer_is_none(pieces, why):
    with pytest.raises(NoAnswer, match=why) as raised:
        read(*pieces)

    assert raised.value.perhaps_received


def test_a_head_or_an_answer_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(http11, "ANSWER_BYTES_MAX", 100_000)
    head = b"HTTP/1.1 200 OK\r\n"

    for endless in ([head, *[b"a: " + b"b" * 10_000 + b"\r\n"] * 20], [head + b"\r\n", *[b"x" * 10_000] * 20]):
        with pytest.raises(NoAnswer, match="too long"):
            read(*endless)
