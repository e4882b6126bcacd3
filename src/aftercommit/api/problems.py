"""Every refusal as an RFC 9457 problem: the one table from codes to HTTP statuses, and the way there from errors."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from aftercommit.api.answers import PROBLEM_HEADERS, Answer, HeaderList
from aftercommit.domain.errors import CallerError, Conflict, Invalid, NotFound, TemporarilyUnavailable
from aftercommit.domain.lifecycle import Refusal
from aftercommit.domain.message import Outcome
from aftercommit.wire import Problem

# What the API itself refuses, before or around the services.
STATUS_OF_CODE: Final[Mapping[str, int]] = {
    "malformed_json": 400,
    "malformed_request": 400,
    "duplicate_key": 400,
    "forbidden_host": 403,
    "cross_site": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "body_too_large": 413,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "unsupported_encoding": 415,
    "invalid_field": 422,
    "missing_field": 422,
    "unknown_field": 422,
    "unknown_parameter": 422,
    "invalid_parameter": 422,
    "too_many_items": 422,
    "invalid_app": 422,
    "header_too_large": 431,
    "internal_error": 500,
    "not_ready": 503,
    "stopping": 503,
    "too_many_connections": 503,
}

STATUS_OF_REFUSAL: Final[Mapping[Refusal, int]] = {
    Refusal.UNKNOWN_MESSAGE: 404,
    Refusal.UNKNOWN_TOPIC: 422,
    Refusal.UNKNOWN_SUBSCRIPTION: 422,
    Refusal.SUBSCRIPTION_REQUIRED: 422,
    Refusal.ID_CONFLICT: 409,
    Refusal.ROLLED_BACK: 409,
    Refusal.ALREADY_CONFIRMED: 409,
    Refusal.NOT_DELIVERED: 409,
    Refusal.INVALID_TRANSITION: 409,
    Refusal.BUSY: 503,
}

_ABOUT_SUBSCRIPTIONS: Final = frozenset({Refusal.UNKNOWN_SUBSCRIPTION, Refusal.SUBSCRIPTION_REQUIRED})
_SOON: Final = ((b"retry-after", b"1"),)
_STATUS_OF_FAMILY: Final = ((Invalid, 422), (NotFound, 404), (Conflict, 409))
_ENCODER: Final = msgspec.json.Encoder()


class Rejected(CallerError):
    """The HTTP request itself is refused, before a service saw it. The code's status is in `STATUS_OF_CODE`."""

    def __init__(self, code: str, detail: str, pointer: str | None = None, headers: HeaderList = ()) -> None:
        super().__init__(code, detail, pointer)
        self.headers = headers


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    pointer: str | None = None,
    message_status: str | None = None,
    headers: HeaderList = (),
) -> Answer:
    """A problem document. The title is the status's own phrase, as RFC 9457 asks of `about:blank`."""
    document = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        pointer=pointer,
        message_status=message_status,
    )
    return Answer(status, _ENCODER.encode(document), PROBLEM_HEADERS + headers)


def caller_error(error: CallerError) -> Answer:
    """The caller's fault."""
    headers = error.headers if isinstance(error, Rejected) else ()
    return problem(status_of(error), error.code, error.detail, pointer=error.pointer, headers=headers)


def temporarily_unavailable(error: TemporarilyUnavailable) -> Answer:
    """Nothing was changed; try again."""
    retry_after = (b"retry-after", b"%d" % error.retry_after_seconds)
    return problem(503, error.code, error.detail, headers=(retry_after,))


def internal_error() -> Answer:
    """Our bug. What it was stands in the log, not here."""
    return problem(500, "internal_error", "The service made a mistake. It is logged; the request may be tried again.")


def refusal(outcome: Outcome, code: Refusal, *, pointer: str | None = None) -> Answer:
    """What stands in a command's way. `pointer`: the field that names subscriptions, for refusals about them."""
    return problem(
        STATUS_OF_REFUSAL[code],
        code.value,
        outcome.detail,
        pointer="/topic" if code is Refusal.UNKNOWN_TOPIC else pointer if code in _ABOUT_SUBSCRIPTIONS else None,
        message_status=outcome.status,
        headers=_SOON if code is Refusal.BUSY else (),
    )


def status_of(error: CallerError) -> int:
    """The HTTP status of the caller's fault: its code's own, else that of its family."""
    known = STATUS_OF_CODE.get(error.code)
    if known is not None:
        return known
    return next((status for family, status in _STATUS_OF_FAMILY if isinstance(error, family)), 400)
