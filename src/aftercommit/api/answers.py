"""What goes back to a caller: a status, a body that is already bytes, and headers."""

from typing import Final, NamedTuple, TypeAlias

import msgspec

HeaderList: TypeAlias = tuple[tuple[bytes, bytes], ...]

_ENCODER: Final = msgspec.json.Encoder()
_NO_STORE: Final = (b"cache-control", b"no-store")
_NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")
JSON_HEADERS: Final[HeaderList] = ((b"content-type", b"application/json"), _NO_STORE)
PROBLEM_HEADERS: Final[HeaderList] = ((b"content-type", b"application/problem+json"), _NO_STORE)
TEXT_HEADERS: Final[HeaderList] = ((b"content-type", b"text/plain; charset=utf-8"), _NO_STORE, _NO_SNIFF)


class Answer(NamedTuple):
    """A whole response. `Content-Length` is added where it is written."""

    status: int
    body: bytes
    headers: HeaderList = JSON_HEADERS


NO_CONTENT: Final = Answer(204, b"", ())


def json_answer(value: object, status: int = 200) -> Answer:
    """`value` (a shape of `wire`) as JSON."""
    return Answer(status, _ENCODER.encode(value))


def text_answer(text: str, status: int = 200) -> Answer:
    """Plain text, for probes and people."""
    return Answer(status, text.encode(), TEXT_HEADERS)


def html_answer(page: bytes, style_hash: str) -> Answer:
    """A page that may use nothing but the one style sheet inside it, and may not be framed."""
    policy = (
        f"default-src 'none'; style-src '{style_hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        _NO_STORE,
        _NO_SNIFF,
    )
    return Answer(200, page, headers)
