"""One request and its response on a connection: uvicorn's cycle, with answers written in one piece."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

from aftercommit.api.answers import Answer
from aftercommit.api.problems import internal_error, problem

_BODILESS: Final = frozenset({204, 304})
_CLOSE: Final = b"connection: close\r\n"
# uvicorn's own; nothing that is left of it logs anything.
_ENGINE_LOG: Final = logging.getLogger("uvicorn.error")
_log = structlog.get_logger(__name__)


class Present:
    """What changes with time and is the same for every answer: the `Date` header, kept by the server."""

    __slots__ = ("date_line",)

    def __init__(self) -> None:
        self.date_line = b""


class Exchange(RequestResponseCycle):
    """Runs the application for one request. Whatever the application does, the client gets a whole answer or none.

    `close` ends the connection once the answer is out.
    """

    def __init__(
        self,
        scope: Any,
        transport: asyncio.Transport,
        flow: FlowControl,
        *,
        keep_alive: bool,
        expect_100_continue: bool,
        on_response: Callable[[], None],
        close: Callable[[], None],
        present: Present,
    ) -> None:
        super().__init__(
            scope, transport, flow, _ENGINE_LOG, _ENGINE_LOG, False, [], asyncio.Event(), expect_100_continue,
            keep_alive, on_response,
        )  # fmt: skip
        self._close = close
        self._present = present
        # What is ready to be written once the first piece of the body is there.
        self._head: list[bytes] = []

    async def run_asgi(self, app: Any) -> None:
        """Call the application, and answer in its place where it does not."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._give_up(
                problem(503, "stopping", "The node is going down before this was done. Ask another, or again.")
            )
            raise
        except Exception:
            _log.exception("application_failed", method=self.scope["method"])
            self._give_up(internal_error())
        else:
            if not self.response_complete and not self.disconnected:
                _log.error("application_gave_no_answer", method=self.scope["method"])
                self._give_up(internal_error())
        finally:
            self.on_response = _nothing

    async def send(self, message: Any) -> None:
        """ASGI's send. The head is held back until the first piece of the body, so that both go out together."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"An HTTP response has no {message['type']!r}.")

    def answer(self, answer: Answer) -> None:
        """Answer in the application's place, and end the connection."""
        self.keep_alive = False
        length = (b"content-length", b"%d" % len(answer.body))
        self._begin(answer.status, (*answer.headers, length))
        self._continue(answer.body, more=False)

    def abandon(self) -> None:
        """Let the application know that nobody listens any more."""
        self.disconnected = True
        self.message_event.set()

    def _give_up(self, answer: Answer) -> None:
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            # Half an answer is out already; only a cut connection tells the client that the rest is missing.
            self.transport.abort()
            return
        self._head = []
        self.answer(answer)

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._head or self.response_started:
            raise RuntimeError("The response has begun already.")
        if self.waiting_for_100_continue:
            # The client still waits to be told to send its body, and may now send it or not: nobody could tell.
            self.keep_alive = False
        head = [STATUS_LINE[status], self._present.date_line]
        length: int | None = None
        for name, value in headers:
            line, lowered = _header_line(name, value)
            if lowered == b"content-length":
                length = int(value)
            elif lowered == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                continue
            elif lowered == b"transfer-encoding":
                continue
            head.append(line)
        self.expected_content_length = length or 0
        self.chunked_encoding = length is None and self.scope["method"] != "HEAD" and status not in _BODILESS
        if self.chunked_encoding:
            head.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            head.append(_CLOSE)
        head.append(b"\r\n")
        self._head = head

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self.response_complete or not (self._head or self.response_started):
            raise RuntimeError("A piece of a body came before the response began, or after it ended.")
        out = self._head
        self._head = []
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            if body:
                out += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                out.append(b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("The body is not as long as Content-Length says.")
            out.append(body)
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(out))
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self._close()
            self.on_response()


def whole_answer(answer: Answer, date_line: bytes) -> bytes:
    """An answer as it is written where there is no exchange to write it. It is the connection's last."""
    lines = [STATUS_LINE[answer.status], date_line, *(_header_line(name, value)[0] for name, value in answer.headers)]
    return b"".join((*lines, b"content-length: %d\r\n" % len(answer.body), _CLOSE, b"\r\n", answer.body))


def _nothing() -> None:
    """The connection has moved on to its next request."""


@lru_cache(maxsize=4096)
def _header_line(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header as it is written, and its name in lower case. The same few headers come again and again."""
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise RuntimeError(f"The response header {name!r} holds characters that no header may hold.")
    lowered = name.lower()
    return b"".join((lowered, b": ", value, b"\r\n")), lowered
