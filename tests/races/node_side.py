"""What the processes of a race do with a real node: initiators through the SDK's clients, checkers as responders."""

import signal
import socket
import socketserver
import threading
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn

from aftercommit import wire
from aftercommit.sdk.barrier.barrier import AsyncBarrier, Barrier
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.checkback.asgi import CheckApp
from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.checkback.wsgi import CheckWsgiApp
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.clients.async_client import AsyncClient
from aftercommit.sdk.clients.client import Client
from aftercommit.sdk.errors import AfterCommitClientError, AlreadyConfirmed, RolledBack, Unreachable
from aftercommit.sdk.service import AsyncService, BlockingService, Service
from tests.races.journal import Journal
from tests.races.ledger import CONFIRMED, PENDING, ROLLED_BACK
from tests.races.shops import Shop

APP: Final = "orders"
# How often what an initiator says never reaches the node, or what the node says never comes back.
_LOST_OF: Final = {"prepare": 0.04, "confirm": 0.25, "cancel": 0.25}
_TIMEOUT_SECONDS: Final = 10.0


def settled(status: str) -> str:
    """A status of the service, in the three words of the races."""
    if status in ("pending_confirmation", "undecided"):
        return PENDING
    return ROLLED_BACK if status == "rolled_back" else CONFIRMED


def node_service(url: str, journal: Journal, chance: Random, *, blocking: bool) -> Service:
    """The service of one worker, over a client of its own."""
    inner: Service
    if blocking:
        inner = BlockingService(Client(url, app=APP, timeout_seconds=_TIMEOUT_SECONDS))
    else:
        inner = AsyncService(AsyncClient(url, app=APP, timeout_seconds=_TIMEOUT_SECONDS))
    return _Journalled(inner, journal, chance)


class _Journalled:
    """`sdk.service.Service` that writes down what is told and heard, and loses some of it."""

    def __init__(self, inner: Service, journal: Journal, chance: Random) -> None:
        self._inner = inner
        self._journal = journal
        self._chance = chance

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Store messages."""
        return await self._told("prepare", [each.id or "" for each in messages], self._inner.prepare(messages))

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Their local transaction committed."""
        return await self._told("confirm", message_ids, self._inner.confirm(message_ids))

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        """Their local transaction can never commit."""
        return await self._told("cancel", message_ids, self._inner.cancel(message_ids, reason))

    async def complete(self, items: Sequence[wire.CompleteItem]) -> list[BatchResult]:
        """Nothing is consumed here."""
        raise AssertionError(f"Nobody completes anything in a race: {items}")

    async def fail(self, items: Sequence[wire.FailItem]) -> list[BatchResult]:
        """Nothing is consumed here."""
        raise AssertionError(f"Nobody fails anything in a race: {items}")

    async def status(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Nothing is purged here."""
        raise AssertionError(f"Nobody asks for a status in a race: {message_ids}")

    async def _told(self, verb: str, ids: Sequence[str], call: Awaitable[list[BatchResult]]) -> list[BatchResult]:
        lost = self._chance.random() < _LOST_OF[verb]
        # Before it is said, because saying it may be the last that this process does.
        self._journal.write("service", verb=verb, ids=list(ids), answers=None)
        if lost and self._chance.random() < 0.5:
            if isinstance(call, Coroutine):
                call.close()
            raise _lost(perhaps_received=False)
        results = await call
        answers = [_answer(each) for each in results]
        self._journal.write("service", verb=verb, ids=list(ids), answers=answers)
        if lost:
            raise _lost(perhaps_received=True)
        return results


@dataclass(frozen=True, slots=True)
class Responder:
    """A process that answers check-back calls on a port it shares with the other one, until SIGTERM."""

    name: str
    shop: Shop
    journal: Journal
    port: int

    def run(self) -> None:
        """Answer, as a WSGI or an ASGI application."""
        if not self.shop.blocking:
            self._run_asgi()
            return
        server = _SharingServer(("127.0.0.1", self.port), _QuietHandler)
        server.set_app(CheckWsgiApp(CheckResponder(_JournalledBarrier(self), secrets=())))
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.05)

    def _run_asgi(self) -> None:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(("127.0.0.1", self.port))
            app = CheckApp(CheckResponder(_AwaitedJournalledBarrier(self), secrets=()))
            uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).run(sockets=[listening])


class _Questions:
    """The journal of a responder."""

    def __init__(self, of: Responder) -> None:
        self._of = of
        self._numbers = count(1)

    def asked(self, checks: Sequence[wire.Check]) -> str:
        question = f"{self._of.name}/{next(self._numbers)}"
        self._of.journal.write("asked", question=question, ids=[each.id for each in checks])
        return question

    def answered(self, question: str, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
        answers = {message_id: outcome.value for message_id, outcome in outcomes.items()}
        self._of.journal.write("answered", question=question, answers=answers)
        return outcomes


class _JournalledBarrier:
    def __init__(self, of: Responder) -> None:
        self._questions, self._barrier = _Questions(of), Barrier(of.shop.source)

    def check(self, checks: Sequence[wire.Check]) -> dict[str, Outcome]:
        question = self._questions.asked(checks)
        return self._questions.answered(question, self._barrier.check(checks))


class _AwaitedJournalledBarrier:
    def __init__(self, of: Responder) -> None:
        self._questions, self._barrier = _Questions(of), AsyncBarrier(of.shop.source)

    async def check(self, checks: Sequence[wire.Check]) -> dict[str, Outcome]:
        question = self._questions.asked(checks)
        return self._questions.answered(question, await self._barrier.check(checks))


class _SharingServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # The kernel deals the node's calls out to whoever listens.
    allow_reuse_port = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # The node was killed while it was answered.
        self.close_request(request)


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's word
        """Say nothing."""


def _answer(result: BatchResult) -> str:
    if isinstance(result.error, RolledBack):
        return ROLLED_BACK
    if isinstance(result.error, AlreadyConfirmed):
        return CONFIRMED
    return settled(result.status or "") if result.error is None else str(getattr(result.error, "code", result.error))


def _lost(*, perhaps_received: bool) -> AfterCommitClientError:
    return Unreachable("The network lost it.", perhaps_received=perhaps_received, repeatable=True)
