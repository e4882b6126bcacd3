"""Messages as a program holds them: what is to be prepared, what was pulled, what is stored."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import uuid_utils
from msgspec import UNSET, Raw, UnsetType

from aftercommit import wire


class MessageOptions(TypedDict, total=False):
    """What may be said of a new message besides its topic and payload.

    - `payload_bytes`: the payload as bytes, instead of a JSON value.
    - `id`: a UUIDv7 in lower case; made here if absent. Give one to make *your* repeat of the call the same message.
    - `key`: the ordering or partition key, at most 128 characters.
    - `headers`: up to 64 of your own, text to text; names beginning `aftercommit-` or `ce-` are refused.
    - `content_type`: defaults to `application/json` for a JSON value, `application/octet-stream` for bytes.
    - `delay_seconds` (0 to 30 days, from prepare) or `deliver_at` (a datetime with a zone, or RFC 3339): not earlier.
    - `check_after_seconds`: how long the local transaction may take before the service asks about it.
    - `check_hint`: an opaque text handed back in that question (shard, tenant).
    - `confirmed`: True for a plain publish without a local transaction.
    """

    payload_bytes: bytes | bytearray | memoryview | None
    id: str | None
    key: str | None
    headers: dict[str, str] | None
    content_type: str | None
    delay_seconds: float | None
    deliver_at: datetime | str | None
    check_after_seconds: float | None
    check_hint: str | None
    confirmed: bool


def new_id() -> str:
    """A fresh message id: a UUIDv7 in lower case.

    message_id = new_id()
    client.prepare("orders.created", {"order": 42}, id=message_id)
    """
    return str(uuid_utils.uuid7())


def new_message(topic: str, payload: Any = UNSET, options: MessageOptions | None = None) -> wire.PrepareRequest:
    """A message to be prepared, alone or in a batch. It has an id from here on, so that every repeat is the same call.

    `payload` is anything msgspec encodes as JSON (dict, list, str, dataclass, msgspec.Struct, datetime, Decimal, ...;
    a NaN becomes null), JSON already encoded as `msgspec.Raw`, or bytes, which are sent as they are.
    Raises TypeError for a payload that is neither, ValueError for a `deliver_at` without a time zone.

        new_message("orders.created", {"order": 42}, {"key": "42"})
    """
    given: MessageOptions = options or {}
    json_payload, payload_base64 = _encoded(payload, given.get("payload_bytes"))
    return wire.PrepareRequest(
        topic=topic,
        id=given.get("id") or new_id(),
        payload=json_payload,
        payload_base64=payload_base64,
        content_type=given.get("content_type"),
        key=given.get("key"),
        headers=given.get("headers"),
        delay_seconds=given.get("delay_seconds"),
        deliver_at=timestamp(given.get("deliver_at")),
        check_after_seconds=given.get("check_after_seconds"),
        check_hint=given.get("check_hint"),
        confirmed=given.get("confirmed", False),
    )


def timestamp(at: datetime | str | None) -> str | None:
    """A time as the protocol writes it: RFC 3339, UTC, milliseconds. Text is left as it is."""
    if not isinstance(at, datetime):
        return at
    if at.tzinfo is None:
        raise ValueError("A time without a time zone is ambiguous; give it one, for example datetime.now(UTC).")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _WithPayload:
    """Reads the payload in either form it has on the wire."""

    __slots__ = ()

    payload: Raw | UnsetType
    payload_base64: str | UnsetType

    @property
    def body(self) -> bytes:
        """The payload, byte for byte as it was prepared; empty if there is none (a tombstone)."""
        if not isinstance(self.payload_base64, UnsetType):
            return _decoded(self.payload_base64)
        return b"" if isinstance(self.payload, UnsetType) else bytes(self.payload)

    def json(self, type: Any = Any) -> Any:  # noqa: A002 - the word msgspec uses for the same thing
        """The payload decoded from JSON, into `type` if given. Raises `msgspec.DecodeError` if it is not that."""
        return msgspec.json.decode(self.body, type=type)


class PulledMessage(_WithPayload, wire.PulledMessage, frozen=True):
    """One delivery attempt: `id, topic, key, headers, content_type, attempt, sent_at`, `.body` and `.json()`.

    for message in client.pull("orders.created", "billing"):
        print(message.id, message.attempt, message.json()["order"])
    """


class StoredMessage(_WithPayload, wire.MessageAnswer, frozen=True):
    """Everything the service knows of a message, its deliveries and timeline included, `.body` and `.json()`.

    message = client.message(message_id)
    print(message.status, message.json(), [each.subscription for each in message.deliveries])
    """


class PullAnswer(msgspec.Struct, frozen=True):
    """What a pull brought."""

    messages: list[PulledMessage]


def _encoded(payload: Any, payload_bytes: bytes | bytearray | memoryview | None) -> tuple[Raw | UnsetType, str | None]:
    if isinstance(payload, bytes | bytearray | memoryview):
        if payload_bytes is not None:
            raise TypeError("Give payload or payload_bytes, not both.")
        payload, payload_bytes = UNSET, payload
    if (payload is UNSET) == (payload_bytes is None):
        raise TypeError("Give either payload (any JSON value) or payload_bytes.")
    if payload_bytes is not None:
        return UNSET, base64.b64encode(payload_bytes).decode()
    return Raw(msgspec.json.encode(payload)), None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise msgspec.DecodeError(f"The payload is not base64: {error}.") from None
