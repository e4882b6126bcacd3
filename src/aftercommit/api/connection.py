"""One client connection: uvicorn's HTTP protocol, with deadlines and limits that hold against any client."""

import asyncio
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from aftercommit.api.answers import Answer
from aftercommit.api.exchange import Exchange, Present, whole_answer
from aftercommit.api.limits import Limits
from aftercommit.api.problems import problem
from aftercommit.ports.observer import Observer

_MALFORMED: Final = problem(400, "malformed_request", "This is not a well-formed HTTP/1.1 request.")
_TOO_LONG: Final = problem(431, "header_too_large", "The request line or the headers are larger than this node reads.")
_TOO_MANY: Final = problem(
    503, "too_many_connections", "This node has too many connections.", headers=((b"retry-after", b"1"),)
)
_ABOUT_UPGRADING: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Phase(Enum):
    """What a connection waits for."""

    FRESH = auto()  # the first byte of its first request
    RECEIVING = auto()  # the rest of a request
    RESPONDING = auto()  # the application
    IDLE = auto()  # the first byte of another request
    LINGERING = auto()  # the client's end, after ours


class House(msgspec.Struct, frozen=True, kw_only=True):
    """What the connections of a server share. `empty` is set whenever the last of them is gone."""

    config: Config
    state: ServerState
    limits: Limits
    observer: Observer
    present: Present
    loop: asyncio.AbstractEventLoop
    empty: asyncio.Event


class Connection(HttpToolsProtocol):
    """Reads requests one after the other and starts an exchange for each.

    No timer is set per request: the server looks at its connections now and then and calls `expire`.
    """

    def __init__(self, house: House) -> None:
        super().__init__(house.config, house.state, {}, house.loop)
        self._latest: Exchange | None = None
        self._house = house
        self._limits = house.limits
        self._phase = Phase.FRESH
        self._since = 0.0
        self._chunk_bytes = 0
        self._head_bytes = 0
        self._head_is_complete = True
        self._head_is_split = False
        self._is_excess = False
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        super().connection_made(transport)  # type: ignore[arg-type]  # a stream's transport, always
        self._since = self.loop.time()
        self._is_excess = len(self.connections) > self._limits.connections_max
        if len(self.connections) > 2 * self._limits.connections_max:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        super().connection_lost(exc)
        if not self.connections:
            self._house.empty.set()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._refused:
            return
        self._chunk_bytes = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(_MALFORMED, self._exchange_being_received())
            return
        if self._head_is_complete:
            return
        if self._head_is_split:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes_max:
                self._refuse(_TOO_LONG)
        # Where in its first piece a head began is not known, so counting starts with the second.
        self._head_is_split = True

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._phase = Phase.RECEIVING
        self._since = self.loop.time()
        self._head_is_complete = False
        self._head_is_split = False
        self._head_bytes = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Everything but the body is there: start, or queue behind the request before."""
        self._head_is_complete = True
        if self._refused or self.parser.should_upgrade() or self._refuses_head():
            return
        version = self.parser.get_http_version()
        exchange = Exchange(
            self._scope(version),
            self.transport,
            self.flow,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            expect_100_continue=self.expect_100_continue,
            on_response=self.on_response_complete,
            close=self._close_gently,
            present=self._house.present,
        )
        before, self._latest = self._latest, exchange
        self.cycle = exchange
        if before is None or before.response_complete:
            self._start(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def on_body(self, body: bytes) -> None:
        """A piece of a body. Once the request is answered, the rest is let go."""
        exchange = self._latest
        if self._refused or exchange is None or exchange.response_complete:
            return
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.message_event.set()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        exchange = self._latest
        if self._refused or exchange is None or self.parser.should_upgrade():
            return
        self._since = self.loop.time()
        if exchange.response_complete:
            self._phase = Phase.IDLE
            return
        self._phase = Phase.RESPONDING
        exchange.more_body = False
        exchange.message_event.set()

    def on_response_complete(self) -> None:
        """The answer is out: on to the request behind it, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._phase is Phase.LINGERING:
            return
        self.flow.resume_reading()
        self._since = self.loop.time()
        if self.pipeline:
            exchange, _ = self.pipeline.pop()
            self._start(exchange)
        elif self._phase is Phase.RESPONDING:
            self._phase = Phase.IDLE

    def expire(self, now: float) -> None:
        """Do what is due: nobody keeps a connection by being slow."""
        waited = now - self._since
        match self._phase:
            case Phase.FRESH if waited > self._limits.receive_seconds:
                self.transport.close()
            case Phase.RECEIVING if waited > self._limits.receive_seconds and not self.pipeline:
                self._end_slow_request()
            case Phase.IDLE if waited > self._limits.idle_seconds:
                # An answer that the client never read would keep a closing transport open.
                self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()
            case Phase.LINGERING if waited > self._limits.linger_seconds:
                self.transport.abort()
            case _:
                pass

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # There is nothing to upgrade to, and a server may go on as if nobody had asked. The parser may not: it
                # takes the body for another protocol. So the request is read again without the wish (a client of Java
                # puts it into its first request to every server).
                rest = rest[upgrade.args[0] :]
            if self.parser.get_method() == b"CONNECT":
                self._refuse(_MALFORMED)
                return
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        keep = b"keep-alive" if self.parser.should_keep_alive() else b"close"
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % each for each in self.headers if each[0] not in _ABOUT_UPGRADING]
        return b"\r\n".join((*lines, b"connection: " + keep, b"", b""))

    def _refuses_head(self) -> bool:
        limits = self._limits
        if self._is_excess:
            self._refuse(_TOO_MANY)
        elif not self.url.isascii():
            self._refuse(_MALFORMED)
        elif len(self.headers) > limits.head_fields_max or len(self.url) > limits.url_bytes_max:
            self._refuse(_TOO_LONG)
        elif self._head_is_split or self._chunk_bytes > limits.head_bytes_max:
            # It may be too long: measure it. (Most heads come in one small piece.)
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.head_bytes_max:
                self._refuse(_TOO_LONG)
        return self._refused

    def _scope(self, version: str) -> Any:
        url = self.url
        if url.startswith(b"/"):
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path or b"*", parsed.query or b""
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": self.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
        }

    def _start(self, exchange: Any) -> None:
        task = self.loop.create_task(exchange.run_asgi(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _exchange_being_received(self) -> Exchange | None:
        is_incomplete = self._phase is Phase.RECEIVING and self._head_is_complete
        return self._latest if is_incomplete else None

    def _end_slow_request(self) -> None:
        seconds = self._limits.receive_seconds
        detail = f"The request was not received as a whole within {seconds:g} seconds."
        self._refuse(problem(408, "request_timeout", detail), self._exchange_being_received())

    def _refuse(self, answer: Answer, exchange: Exchange | None = None) -> None:
        """Answer in place of the application and read no more. `exchange`: the one whose request is not whole yet."""
        if self._refused:
            return
        self._refused = True
        present = self._latest
        if present is not None and present is not exchange and not present.response_complete:
            # The request before this one is still being answered; that answer is the connection's last.
            present.keep_alive = False
            return
        if self.pipeline or (exchange is not None and exchange.response_started and not exchange.response_complete):
            self.transport.abort()
            return
        if exchange is None or not exchange.response_complete:
            self._house.observer.count("requests", 1, route="none", method="none", status=str(answer.status))
            self.transport.write(whole_answer(answer, self._house.present.date_line))
        if exchange is not None:
            exchange.abandon()
        self._close_gently()

    def _close_gently(self) -> None:
        """Close so that the client comes to read what was written, even if it is still sending."""
        if self.transport.is_closing():
            return
        if self._phase is not Phase.RECEIVING and not self._refused:
            self.transport.close()
            return
        # Closing with unread bytes would reset the connection, and a reset can destroy the answer on its way.
        self._refused = True
        self._phase = Phase.LINGERING
        self._since = self.loop.time()
        self.flow.resume_reading()
        self.transport.write_eof()
