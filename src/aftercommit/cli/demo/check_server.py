"""The address at which the node asks the order service what became of its transactions."""

import socketserver
import sqlite3
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec

from aftercommit import wire
from aftercommit.cli.demo import barrier
from aftercommit.cli.demo.scene import CHECK_PATH, Scene
from aftercommit.cli.demo.tally import Tally
from aftercommit.domain.commands import CheckOutcome

LETTERS: Final = {CheckOutcome.COMMITTED: "c", CheckOutcome.ROLLED_BACK: "r", CheckOutcome.UNKNOWN: "u"}


class CheckServer(ThreadingHTTPServer):
    """Listens from the moment it is made. Each question is answered by a thread and a connection of its own."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(("127.0.0.1", scene.check_port), partial(_CheckHandler, scene))

    def server_bind(self) -> None:
        """Bind without asking the name service who we are, as the standard library does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])


class _CheckHandler(BaseHTTPRequestHandler):
    def __init__(self, scene: Scene, *arguments: Any) -> None:
        self._scene = scene
        # The standard library answers the request within this call.
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path != CHECK_PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            checks = msgspec.json.decode(body, type=wire.CheckCall).checks
            outcomes = barrier.settle(self._scene.order_database, [check.id for check in checks])
        except msgspec.DecodeError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, explain=str(error))
        except sqlite3.Error as error:
            # Any answer but a well-formed 200 is `unknown` to the node, and that is what we know.
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
        else:
            Tally(self._scene.checks_tally).count("".join(LETTERS[outcome] for outcome in outcomes.values()))
            self._answer(outcomes)

    def _answer(self, outcomes: dict[str, CheckOutcome]) -> None:
        results = [wire.CheckResult(id=each, outcome=outcome.value) for each, outcome in outcomes.items()]
        body = msgspec.json.encode(wire.CheckResults(results=results))
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
