"""What a prepare must look like: turns a request into a message and its content, or says what is wrong with it."""

import hashlib
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from aftercommit.domain.commands import Prepare
from aftercommit.domain.errors import CallerError, Invalid
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Content, Due, DueKind, Message, PayloadForm
from aftercommit.domain.policies import DELAY_MAX_SECONDS, MS, Policy, jittered
from aftercommit.service.words import in_range, uuid7_time
from aftercommit.wire import PrepareRequest, parse_time

PAYLOAD_BYTES_MAX: Final = 256 * 1024
HEADERS_MAX: Final = 64
HEADERS_BYTES_MAX: Final = 16 * 1024
NAME_LENGTH_MAX: Final = 128
CHECK_AFTER_MAX_SECONDS: Final = DELAY_MAX_SECONDS
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RESERVED: Final = ("aftercommit-", "ce-")


def read_prepare(
    request: PrepareRequest,
    *,
    message_id: str,
    app: int,
    topic: int,
    policy: Policy,
    now: int,
    chance: float,
    traceparent: str | None,
) -> Prepare:
    """The message a request asks for. Raises `CallerError` with the field at fault."""
    form, payload = _payload(request)
    content_type = _content_type(request, form)
    deliver_at = _deliver_at(request, now)
    check_after = _check_after(request, policy)
    headers = _headers(request.headers or {})
    _require_text("key", request.key, NAME_LENGTH_MAX)
    _require_text("check_hint", request.check_hint, 1024)
    content = Content(
        content_type=content_type,
        form=form,
        payload=payload,
        fingerprint=_fingerprint(request, app, content_type, form, payload),
        key=request.key,
        headers=headers,
        check_hint=request.check_hint,
        traceparent=traceparent,
    )
    check = None if request.confirmed else Due(DueKind.CHECK, app, now + jittered(check_after, chance))
    message = Message(
        id=message_id,
        app=app,
        topic=topic,
        status=Status.PENDING_SEND if request.confirmed else Status.PENDING_CONFIRMATION,
        prepared_at=now,
        deliver_at=deliver_at,
        due=check,
    )
    return Prepare(message=message, content=content)


def require_id(message_id: str, now: int) -> None:
    """Refuse an id that is no UUIDv7, or one made too long ago or ahead of time."""
    made_at = uuid7_time(message_id)
    if made_at is None:
        raise Invalid("invalid_id", "The id must be a UUIDv7 in lower case.", "/id")
    if not in_range(made_at, now):
        raise Invalid(
            "id_out_of_range", "The id must have been made within the last 7 days and not over a day ahead.", "/id"
        )


def _payload(request: PrepareRequest) -> tuple[PayloadForm, bytes]:
    if (request.payload is UNSET) == (request.payload_base64 is None):
        raise Invalid("invalid_payload", "Give exactly one of payload and payload_base64.", "/payload")
    if request.payload_base64 is None:
        payload = bytes(request.payload)  # type: ignore[arg-type]  # checked above: Raw, never UNSET
        form = PayloadForm.JSON
    else:
        try:
            payload = b64decode(request.payload_base64, validate=True)
        except (Base64Error, ValueError):
            raise Invalid("invalid_payload", "payload_base64 is not base64.", "/payload_base64") from None
        form = PayloadForm.BYTES
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise CallerError("payload_too_large", f"A payload holds at most {PAYLOAD_BYTES_MAX} bytes.", "/payload")
    return form, payload


def _content_type(request: PrepareRequest, form: PayloadForm) -> str:
    if request.content_type is None:
        return "application/json" if form is PayloadForm.JSON else "application/octet-stream"
    _require_text("content_type", request.content_type, 256)
    return request.content_type


def _deliver_at(request: PrepareRequest, now: int) -> int | None:
    if request.delay_seconds is not None and request.deliver_at is not None:
        raise Invalid("invalid_delay", "Give at most one of delay_seconds and deliver_at.", "/delay_seconds")
    if request.delay_seconds is not None:
        if not 0 <= request.delay_seconds <= DELAY_MAX_SECONDS:
            raise Invalid("invalid_delay", "delay_seconds must be from 0 to 30 days.", "/delay_seconds")
        return now + round(request.delay_seconds * MS)
    if request.deliver_at is None:
        return None
    at = parse_time(request.deliver_at)
    if at is None:
        raise Invalid("invalid_delay", "deliver_at must be an RFC 3339 time with its zone.", "/deliver_at")
    if at > now + DELAY_MAX_SECONDS * MS:
        raise Invalid("invalid_delay", "deliver_at must not be over 30 days ahead.", "/deliver_at")
    # What is long past is due at once; times before 1970 are not kept.
    return max(at, 0)


def _check_after(request: PrepareRequest, policy: Policy) -> float:
    if request.check_after_seconds is None:
        return policy.check_after_seconds
    if not 0 <= request.check_after_seconds <= CHECK_AFTER_MAX_SECONDS:
        raise Invalid("invalid_check_after", "check_after_seconds must be from 0 to 30 days.", "/check_after_seconds")
    return request.check_after_seconds


def _headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not headers:
        return ()
    if len(headers) > HEADERS_MAX:
        raise Invalid("invalid_headers", f"A message has at most {HEADERS_MAX} headers.", "/headers")
    size = 0
    for name, value in headers.items():
        pointer = "/headers/" + name[:NAME_LENGTH_MAX].replace("~", "~0").replace("/", "~1")
        if not _HEADER_NAME.fullmatch(name):
            raise Invalid("invalid_headers", "A header name is 1 to 128 token characters.", pointer)
        if name.lower().startswith(_RESERVED):
            raise Invalid("invalid_headers", "Header names beginning aftercommit- or ce- are reserved.", pointer)
        if _CONTROL.search(value):
            raise Invalid("invalid_headers", "A header value holds no control characters.", pointer)
        size += len(name) + len(value.encode())
    if size > HEADERS_BYTES_MAX:
        raise Invalid("invalid_headers", f"Headers hold at most {HEADERS_BYTES_MAX} bytes.", "/headers")
    return tuple(headers.items())


def _require_text(field: str, value: str | None, length_max: int) -> None:
    if value is None:
        return
    if len(value) > length_max or _CONTROL.search(value):
        raise Invalid(
            f"invalid_{field}", f"{field} holds at most {length_max} characters, none of them control.", f"/{field}"
        )


def _fingerprint(request: PrepareRequest, app: int, content_type: str, form: PayloadForm, payload: bytes) -> bytes:
    """A digest of what a repeated prepare is compared by (protocol, section 3.1): times as sent, headers as a set."""
    described = msgspec.json.encode(
        (
            app,
            request.topic,
            form,
            content_type,
            request.key,
            sorted(request.headers.items()) if request.headers else (),
            request.delay_seconds,
            request.deliver_at,
            request.check_after_seconds,
            request.check_hint,
            request.confirmed,
            len(payload),
        )
    )
    return hashlib.sha256(described + payload).digest()
