"""Somebody who speaks plain HTTP to a node, knowing nothing but the protocol."""

import json
import select
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import msgspec

TIMEOUT_SECONDS = 40.0
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    def require(self, *statuses: int) -> Any:
        """The body of an answer that must have one of these statuses (200, if none is named)."""
        assert self.status in (statuses or (200,)), f"{self.status} instead of {statuses or 200}: {self.body[:500]!r}"
        return self.json if self.body else None

    def refused(self, *statuses: int, code: str | None = None, pointed: bool = True) -> Any:
        """The problem of a refusal, with everything RFC 9457 and the protocol ask of it.

        A 422 points at the field at fault; not `pointed`: what is wrong is no field.
        """
        assert self.status in statuses, f"{self.status} instead of {statuses}: {self.body[:500]!r}"
        assert self.headers.get("content-type", "").partition(";")[0] == PROBLEM, self.headers
        problem = self.json
        assert problem["status"] == self.status
        for field in ("title", "detail", "code"):
            assert isinstance(problem[field], str), problem
            assert problem[field], problem
        if self.status == 422 and pointed:
            assert isinstance(problem.get("pointer"), str), f"No pointer to the field at fault: {problem}"
        if code is not None:
            assert problem["code"] == code, problem
        return problem


class Caller:
    """One connection to a node, kept open between calls; not to be shared between threads.

    `app` is the application it speaks for; without one it is the operator of a node without keys.
    """

    def __init__(self, port: int, app: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.port = port
        self.app = app
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Make a call. A `body` of bytes is sent as it is, anything else as JSON."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {} if self.app is None else {"AfterCommit-App": self.app}
        if raw is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        self._hang_up_if_hung_up()
        try:
            self._connection.request(method, path, raw, sent)
            response = self._connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        except BaseException:
            self._connection.close()
            raise

    def get(self, path: str, **query: object) -> Answer:
        """Read something."""
        return self.call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: object = None) -> Answer:
        """Say something."""
        return self.call("POST", path, body)

    def put(self, path: str, body: object) -> Answer:
        """Set something."""
        return self.call("PUT", path, body)

    def put_topic(self, topic: str, *subscriptions: object, **fields: object) -> Answer:
        """Register a topic; a subscription given as text is one of this application's."""
        listed = [{"name": each} if isinstance(each, str) else each for each in subscriptions]
        return self.put(f"/v1/topics/{quote(topic)}", {"subscriptions": listed, **fields})

    def prepare(self, topic: str, payload: object = None, **fields: object) -> Answer:
        """Prepare a message."""
        return self.post("/v1/messages", {"topic": topic, "payload": payload, **fields})

    def publish(self, topic: str, payload: object = None, **fields: object) -> str:
        """Prepare a message that needs no confirmation; its id."""
        message_id: str = self.prepare(topic, payload, confirmed=True, **fields).require(201)["id"]
        return message_id

    def confirm(self, message_id: str) -> Answer:
        """Say that the local transaction committed."""
        return self.post(f"/v1/messages/{message_id}/confirm")

    def cancel(self, message_id: str, **fields: object) -> Answer:
        """Say that the local transaction rolled back."""
        return self.post(f"/v1/messages/{message_id}/cancel", fields)

    def complete(self, message_id: str, **fields: object) -> Answer:
        """Report the work as done."""
        return self.post(f"/v1/messages/{message_id}/complete", fields)

    def fail(self, message_id: str, **fields: object) -> Answer:
        """Refuse the work for good."""
        return self.post(f"/v1/messages/{message_id}/fail", {"reason": "It cannot be done.", **fields})

    def operate(self, message_id: str, action: str, **fields: object) -> Answer:
        """Act as an operator on one message."""
        return self.post(f"/v1/messages/{message_id}/{action}", fields)

    def pull_answer(self, topic: str, subscription: str, **fields: object) -> Answer:
        """Fetch deliveries."""
        return self.post(f"/v1/topics/{quote(topic)}/subscriptions/{subscription}/pull", fields)

    def pull(self, topic: str, subscription: str, **fields: object) -> list[dict[str, Any]]:
        """Fetch deliveries; the messages that came."""
        messages: list[dict[str, Any]] = self.pull_answer(topic, subscription, **fields).require(200)["messages"]
        return messages

    def pull_one(self, topic: str, subscription: str, wait_seconds: float = 10) -> dict[str, Any]:
        """Wait for one delivery, and insist that it comes."""
        messages = self.pull(topic, subscription, wait_seconds=wait_seconds)
        assert len(messages) == 1, f"{len(messages)} messages came within {wait_seconds} s."
        return messages[0]

    def message(self, message_id: str) -> Any:
        """Everything about one message."""
        return self.get(f"/v1/messages/{message_id}").require(200)

    def status(self, message_id: str) -> str:
        """The status of one message."""
        status: str = self.message(message_id)["status"]
        return status

    def batch(self, verb: str, *items: object) -> list[dict[str, Any]]:
        """Say something about many messages; one result each."""
        results: list[dict[str, Any]] = self.post(f"/v1/batch/{verb}", {"items": items}).require(200)["results"]
        return results

    def _hang_up_if_hung_up(self) -> None:
        # A server may close a connection between two calls; the next call then needs a new one.
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()


class _WithRawPayload(msgspec.Struct):
    payload: msgspec.Raw


class _PulledRaw(msgspec.Struct):
    messages: list[_WithRawPayload]


def raw_payload(body: bytes) -> bytes:
    """The bytes of `payload` in the JSON of a message, exactly as they stand there."""
    return bytes(msgspec.json.decode(body, type=_WithRawPayload).payload)


def pulled_payloads(body: bytes) -> list[bytes]:
    """The bytes of each `payload` in the answer of a pull, exactly as they stand there."""
    return [bytes(each.payload) for each in msgspec.json.decode(body, type=_PulledRaw).messages]
