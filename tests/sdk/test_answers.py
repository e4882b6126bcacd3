"""Every answer that is not what was hoped for becomes the right error."""

import pytest

from aftercommit.sdk import (
    AlreadyConfirmed,
    Client,
    Conflict,
    Denied,
    IdConflict,
    Invalid,
    InvalidTransition,
    NotDelivered,
    NotFound,
    Refused,
    RolledBack,
    Unavailable,
    Unexpected,
)
from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.transports.port import ScriptedTransport
from tests.sdk.answering import ID, answered, refused

REFUSALS = [
    (400, "malformed_json", Invalid),
    (401, "unauthorized", Denied),
    (403, "forbidden", Denied),
    (404, "unknown_message", NotFound),
    (405, "method_not_allowed", Refused),
    (409, "rolled_back", RolledBack),
    (409, "already_confirmed", AlreadyConfirmed),
    (409, "not_delivered", NotDelivered),
    (409, "id_conflict", IdConflict),
    (409, "invalid_transition", InvalidTransition),
    (409, "subscription_in_use", Conflict),
    (413, "payload_too_large", Invalid),
    (415, "unsupported_media_type", Invalid),
    (422, "unknown_topic", Invalid),
    (431, "header_too_large", Refused),
]


@pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
def test_a_refusal_is_raised_under_its_name_with_everything_said(status, code, kind):
    answer = refused(status, code, pointer="/topic", message_status="sent")

    with pytest.raises(Refused) as raised:
        Client(transport=ScriptedTransport([answer])).confirm(ID)

    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, code, "A sentence.")
    assert (error.pointer, error.message_status) == ("/topic", "sent")
    assert str(error).startswith(f"A sentence. ({code}, at /topic) The confirm call was refused")


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_temporary_answer_is_unavailable_whoever_gave_it(status):
    html = Response(status, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"<html>")

    with pytest.raises(Unavailable) as raised:
        Client(transport=ScriptedTransport([html]), retries_max=0).confirm(ID)

    assert (raised.value.status, raised.value.code) == (status, "unavailable")
    assert raised.value.retry_after_seconds is None


def test_an_overloaded_service_says_why_and_when():
    answer = refused(503, "overloaded", {"retry-after": "7"})

    with pytest.raises(Unavailable) as raised:
        Client(transport=ScriptedTransport([answer]), retries_max=0).confirm(ID)

    assert (raised.value.code, raised.value.retry_after_seconds) == ("overloaded", 7.0)


STRANGE = [
    (404, b"<html>no such page</html>"),
    (404, b""),
    (404, b'{"message": "not found"}'),
    (409, b"\xff\xfe"),
    (301, b""),
    (500, b'{"title": "x", "status": 500, "detail": "x", "code": "internal_error"}'),
    (200, b"<html>"),
    (200, b"{}"),
    (200, b'{"id": 1, "status": "sent"}'),
    (200, b'{"id": "\xff", "status": "sent"}'),
    (204, b""),
]


@pytest.mark.parametrize(("status", "body"), STRANGE)
def test_what_the_protocol_does_not_know_is_never_taken_for_a_refusal(status, body):
    transport = ScriptedTransport([Response(status, {}, body)])

    with pytest.raises(Unexpected) as raised:
        Client(transport=transport).complete(ID)

    assert raised.value.status == status
    assert f"/v1/messages/{ID}/complete" in str(raised.value)


def test_what_is_shown_of_a_strange_answer_is_bounded():
    transport = ScriptedTransport([Response(500, {}, b"x" * 100_000)])

    with pytest.raises(Unexpected) as raised:
        Client(transport=transport).complete(ID)

    assert len(str(raised.value)) < 500


def test_a_service_that_cannot_work_is_not_ready_and_is_asked_once():
    transport = ScriptedTransport([refused(503, "not_ready")])

    assert Client(transport=transport).ready() is False
    assert len(transport.requests) == 1


def test_an_answer_without_a_body_is_enough_where_none_is_read():
    transport = ScriptedTransport([Response(204, {}, b"")])

    Client(transport=transport).delete_topic("t")

    assert transport.requests[0].method == "DELETE"


def test_a_batch_with_a_result_too_few_is_not_guessed_about():
    transport = ScriptedTransport([answered({"results": [{"id": ID, "status": "sent"}]})])

    with pytest.raises(Unexpected, match="1 results for 2 items"):
        Client(transport=transport).confirm_batch([ID, ID])
