"""An initiator's check address: a little HTTP server whose answers a test decides."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Asked:
    """A request that came. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The questions in it."""
        checks: list[dict[str, Any]] = json.loads(self.body)["checks"]
        return checks

    @property
    def ids(self) -> list[str]:
        """The messages it asks about."""
        return [each["id"] for each in self.checks]


@dataclass(frozen=True)
class Reply:
    """What is answered. `raw`: these bytes go out as they are, and the connection is closed after them."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_HEADERS)
    body: bytes = b""
    raw: bytes | None = None


class Initiator:
    """Listens on a free port (or the one given) from `start` to `close`, and remembers who asked what."""

    def __init__(self, answer: Callable[[Asked], Reply], *, port: int = 0) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.initiator = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/check"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked_about(self, message_id: str) -> list[dict[str, Any]]:
        """Every question about one message, in the order they came."""
        return [check for asked in list(self.asked) for check in asked.checks if check["id"] == message_id]


def verdicts(outcomes: Mapping[str, str]) -> Reply:
    """A proper answer: these outcomes, by message id."""
    results = [{"id": each, "outcome": outcome} for each, outcome in outcomes.items()]
    return Reply(body=json.dumps({"results": results}).encode())


def always(outcome: str) -> Callable[[Asked], Reply]:
    """Says the same about every message."""
    return lambda asked: verdicts(dict.fromkeys(asked.ids, outcome))


def in_turn(*outcomes: str) -> Callable[[Asked], Reply]:
    """Says these about each message, one check after the other; the last for ever."""
    return lambda asked: verdicts(
        {each["id"]: outcomes[min(each["check"], len(outcomes)) - 1] for each in asked.checks}
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    initiator: Initiator

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Who asked hung up before the answer was written: what a test of hanging and huge answers is about.
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        initiator = self.server.initiator
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        initiator.asked.append(asked)
        reply = initiator.answer(asked)
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST  # noqa: N815 - the name is the standard library's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's word
        """Say nothing."""
