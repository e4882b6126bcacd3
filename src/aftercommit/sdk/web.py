"""HTTP requests to an application's own process, read and answered without a framework: one core, as ASGI and WSGI."""

import http
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

BODY_BYTES_MAX: Final = 1024 * 1024
_LENGTH_DIGITS_MAX: Final = 18

AsgiApp: TypeAlias = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]
WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class WebRequest:
    """A request whose body was read. Header names are in lower case, values text; of repeated ones the last counts."""

    method: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What is answered. Text and structures are sent as `document`, in JSON."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, document: Any, headers: Mapping[str, str] | None = None) -> "WebAnswer":
        """An answer with a JSON body."""
        return cls(status, msgspec.json.encode(document), {"content-type": "application/json", **(headers or {})})


class Unacceptable(Exception):
    """The request is answered with `status` and this sentence."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers

    def answer(self) -> WebAnswer:
        """As a problem of RFC 9457."""
        document = {"title": http.HTTPStatus(self.status).phrase, "status": self.status, "detail": str(self)}
        return WebAnswer.of(self.status, document, {**(self.headers or {}), "content-type": "application/problem+json"})


def asgi_app(respond: Callable[[WebRequest], Awaitable[WebAnswer]], *, body_bytes_max: int = BODY_BYTES_MAX) -> AsgiApp:
    """An ASGI application, on every path, for POST. `respond` may raise `Unacceptable`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        try:
            headers = {
                name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in scope["headers"]
            }
            _require_readable(scope["method"], headers, body_bytes_max)
            body = await _asgi_body(receive, body_bytes_max)
            if body is None:
                return
            answer = await respond(WebRequest(scope["method"], headers, body))
        except Unacceptable as refusal:
            answer = refusal.answer()
        names = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _all_headers(answer).items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": names})
        await send({"type": "http.response.body", "body": answer.body})

    return app


def wsgi_app(respond: Callable[[WebRequest], WebAnswer], *, body_bytes_max: int = BODY_BYTES_MAX) -> WsgiApp:
    """The same as a WSGI application."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            headers = _wsgi_headers(environ)
            _require_readable(environ["REQUEST_METHOD"], headers, body_bytes_max)
            answer = respond(WebRequest(environ["REQUEST_METHOD"], headers, _wsgi_body(environ, body_bytes_max)))
        except Unacceptable as refusal:
            answer = refusal.answer()
        status = f"{answer.status} {http.HTTPStatus(answer.status).phrase}"
        start_response(status, list(_all_headers(answer).items()))
        return [answer.body]

    return app


def _require_readable(method: str, headers: Mapping[str, str], body_bytes_max: int) -> None:
    if method != "POST":
        raise Unacceptable(405, "Only POST is answered here.", {"allow": "POST"})
    if headers.get("content-encoding", "identity") != "identity":
        raise Unacceptable(415, "A compressed body is not read.")
    length = headers.get("content-length", "")
    if length and not (length.isascii() and length.isdigit()):
        raise Unacceptable(400, "content-length is not a number.")
    # The number of digits first: Python refuses to read thousands of them.
    if len(length) > _LENGTH_DIGITS_MAX or int(length or 0) > body_bytes_max:
        raise _too_large(body_bytes_max)


def _too_large(body_bytes_max: int) -> Unacceptable:
    return Unacceptable(413, f"The body is larger than {body_bytes_max} bytes.")


async def _asgi_body(receive: Any, body_bytes_max: int) -> bytes | None:
    """The body; None if the caller went away before its end."""
    parts, size = [], 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > body_bytes_max:
            raise _too_large(body_bytes_max)
        if not event.get("more_body", False):
            return b"".join(parts)


def _wsgi_body(environ: Mapping[str, Any], body_bytes_max: int) -> bytes:
    """The body; without a length only where the server marks its end, for else reading would wait for ever."""
    length = environ.get("CONTENT_LENGTH")
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    wanted = int(length) if length else body_bytes_max + 1
    body: bytes = environ["wsgi.input"].read(wanted)
    if len(body) > body_bytes_max:
        raise _too_large(body_bytes_max)
    if length and len(body) < wanted:
        raise Unacceptable(400, "The body ended before its length.")
    return body


def _wsgi_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """WSGI hands bytes over as if they were Latin-1, and names in capitals with underscores."""
    found = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
    found |= {name: environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    return {
        name.replace("_", "-").lower(): value.encode("latin-1").decode("utf-8", "replace")
        for name, value in found.items()
    }


def _all_headers(answer: WebAnswer) -> dict[str, str]:
    return {**answer.headers, "content-length": str(len(answer.body))}


async def _live(receive: Any, send: Any) -> None:
    """Nothing to start or stop, but a server that asks wants to hear so."""
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
