"""A client: who it says it is, what it refuses to be, and what it reads."""

from typing import Any

import pytest

from aftercommit import __version__
from aftercommit.sdk import AsyncClient, Client
from aftercommit.sdk.transports.port import AsyncScriptedTransport, ScriptedTransport
from tests.sdk.answering import ID, OTHER_ID, STATUS, answered


def test_every_request_says_who_calls():
    transport = ScriptedTransport([STATUS])
    client = Client("https://ac.example:1/base/", app="orders", key="k", transport=transport)

    client.confirm(ID)

    [request] = transport.requests
    assert request.url == f"https://ac.example:1/base/v1/messages/{ID}/confirm"
    assert request.headers["aftercommit-app"] == "orders"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["user-agent"] == f"aftercommit-python/{__version__}"


def test_nothing_is_said_of_an_application_or_key_that_was_not_given():
    transport = ScriptedTransport([STATUS])

    Client(transport=transport).confirm(ID)

    assert {"aftercommit-app", "authorization"}.isdisjoint(transport.requests[0].headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "127.0.0.1:8340"},
        {"base_url": "ftp://host"},
        {"base_url": "http://"},
        {"base_url": "http://me:secret@host"},
        {"base_url": "http://host?x=1"},
        {"app": ""},
        {"key": "a\r\nb: c"},
        {"key": "é"},
        {"timeout_seconds": 0},
        {"retries_max": -1},
    ],
)
def test_a_client_that_could_never_work_is_refused_when_it_is_made(wrong):
    with pytest.raises(ValueError) as raised:
        Client(**wrong, transport=ScriptedTransport())

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("message_id", ["", ".", ".."])
def test_an_id_that_would_lead_elsewhere_is_not_sent(message_id):
    with pytest.raises(ValueError, match="not an id"):
        Client(transport=ScriptedTransport()).confirm(message_id)


def test_a_message_is_read_with_its_payload_and_what_a_newer_service_adds():
    document: dict[str, Any] = {
        "id": ID,
        "app": "a",
        "topic": "t",
        "key": None,
        "headers": {},
        "content_type": "application/json",
        "status": "sent",
        "attempts": 1,
        "checks": 0,
        "check_hint": None,
        "prepared_at": "2026-01-01T00:00:00.000Z",
        "deliver_at": None,
        "confirmed_at": None,
        "sent_at": None,
        "settled_at": None,
        "next_at": None,
        "error": None,
        "resolved_by": None,
        "replay_of": None,
        "deliveries": [],
        "timeline": [],
        "payload": {"b": [1, 2]},
        "newer": True,
    }

    message = Client(transport=ScriptedTransport([answered(document)])).message(ID)

    assert message.status == "sent"
    assert message.body == b'{"b":[1,2]}'
    assert message.json() == {"b": [1, 2]}


SUMMARY = {
    "app": "a",
    "topic": "t",
    "key": None,
    "status": "sent",
    "attempts": 1,
    "checks": 0,
    "prepared_at": "2026-01-01T00:00:00.000Z",
    "confirmed_at": None,
    "settled_at": None,
    "next_at": None,
    "error": None,
}
PAGES = [
    answered({"messages": [{"id": ID, **SUMMARY}], "next_cursor": "1~a"}),
    answered({"messages": [], "next_cursor": "2~b"}),
    answered({"messages": [{"id": OTHER_ID, **SUMMARY}], "next_cursor": None}),
]


def test_messages_are_listed_over_every_page_even_after_an_empty_one():
    transport = ScriptedTransport(PAGES)

    messages = Client(transport=transport).messages(topic="t")

    assert [each.id for each in messages] == [ID, OTHER_ID]
    assert [each.url.partition("?")[2] for each in transport.requests] == [
        "topic=t",
        "topic=t&cursor=1~a",
        "topic=t&cursor=2~b",
    ]


async def test_messages_are_listed_over_every_page_by_the_awaitable_client_too():
    messages = AsyncClient(transport=AsyncScriptedTransport(PAGES)).messages(topic="t")

    assert [each.id async for each in messages] == [ID, OTHER_ID]


def test_leaving_the_block_closes_the_transport():
    transport = ScriptedTransport()

    with Client(transport=transport, key="hidden") as client:
        assert not transport.closed
        assert "hidden" not in repr(client)

    assert transport.closed


async def test_leaving_the_awaitable_block_closes_the_transport():
    transport = AsyncScriptedTransport()

    async with AsyncClient(transport=transport):
        assert not transport.closed

    assert transport.closed
