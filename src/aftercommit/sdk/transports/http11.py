"""HTTP/1.1 as bytes, without I/O: where a request goes, how it is written, and how its answer is read."""

import ssl
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import httptools

from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request

# A pull of 100 payloads of 256 KiB, in base64, and as much again.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024
READ_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}
_WITHOUT_BODY = frozenset({"GET", "DELETE"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect. `authority` is what the Host field says."""

    host: str
    port: int
    authority: str
    is_secure: bool


def located(url: str) -> tuple[Place, str]:
    """The place of a URL, and what is asked for there (path and query)."""
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    return _place(scheme, authority), slash + target or "/"


@lru_cache(maxsize=16)
def _place(scheme: str, authority: str) -> Place:
    parts = urlsplit(f"{scheme}://{authority}")
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode()
        authority = host if parts.port is None else f"{host}:{parts.port}"
    return Place(host=host, port=parts.port or _PORTS[scheme], authority=authority, is_secure=scheme == "https")


def secure_by_default() -> ssl.SSLContext:
    """Certificates are checked against the system's, and the host against the certificate."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def written(request: Request, place: Place, target: str) -> bytes:
    """The request as it goes over the wire. Raises ValueError for what would be more than one request."""
    lines = [f"{request.method} {target} HTTP/1.1", f"host: {place.authority}", "accept-encoding: identity"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method not in _WITHOUT_BODY:
        lines.append(f"content-length: {len(request.body)}")
    head = "\r\n".join(lines) + "\r\n\r\n"
    if head.count("\n") != len(lines) + 1 or head.count("\r") != len(lines) + 1 or " " in target:
        raise ValueError(f"A request must not hold line breaks or blanks in its address or fields: {target!r}.")
    return head.encode("latin-1") + request.body


class AnswerReader:
    """Reads the answer to one request from whatever pieces it comes in. Raises `NoAnswer` for what is no HTTP answer.

    `is_reusable`, once the answer is there: whether another request may follow on the same connection.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._taken = 0
        self._status = 0
        self._ends_with_connection = False
        self._is_done = False
        self._has_excess = False
        self._is_kept = False

    @property
    def is_reusable(self) -> bool:
        """Whether the answer is complete, nothing came after it, and the service keeps the connection."""
        return self._is_done and self._is_kept and not self._has_excess

    def feed(self, data: bytes) -> Response | None:
        """Take the next piece; b"" is the end of the connection. The answer, once it is complete."""
        if not data:
            return self._ended()
        self._taken += len(data)
        if self._taken > (ANSWER_BYTES_MAX if self._status else HEAD_BYTES_MAX + READ_BYTES):
            raise NoAnswer("the answer is too long", perhaps_received=True)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_done:
                raise NoAnswer(f"the answer is not HTTP ({error})".rstrip("."), perhaps_received=True) from None
            # It came after the answer: the answer stands, the connection does not.
            self._has_excess = True
        return self._response() if self._is_done else None

    def _ended(self) -> Response:
        if not self._ends_with_connection:
            why = (
                "the connection was closed in the middle of the answer" if self._taken else "the connection was closed"
            )
            raise NoAnswer(why, perhaps_received=True)
        return self._response()

    def _response(self) -> Response:
        return Response(self._status, self._headers, b"".join(self._body))

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._has_excess = self._is_done

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_done:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._is_done:
            return
        self._status = self._parser.get_status_code()
        self._ends_with_connection = {"content-length", "transfer-encoding"}.isdisjoint(self._headers)

    def on_body(self, body: bytes) -> None:
        if not self._is_done:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if 100 <= self._status < 200:
            # Not the answer yet, only a sign that it is being made.
            self._headers, self._status = {}, 0
        else:
            self._is_done = True
            # Asked here, because the parser forgets it when it is done.
            self._is_kept = bool(self._parser.should_keep_alive())
