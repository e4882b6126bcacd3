"""What a service would answer, for scripts of a transport."""

import asyncio
import threading
from typing import Any, ClassVar

import msgspec

from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.wire import Problem

ID = "01a20845-a5a1-72c7-be83-0cfa850d4999"
OTHER_ID = "01a20845-a5a1-72c7-be83-0cfa850d4998"


def answered(document: Any, status: int = 200) -> Response:
    """An answer with a JSON body."""
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(document))


def refused(status: int, code: str, headers: dict[str, str] | None = None, **fields: Any) -> Response:
    """A problem."""
    problem = Problem(title="A title", status=status, detail="A sentence.", code=code, **fields)
    return Response(status, headers or {}, msgspec.json.encode(problem))


STATUS = answered({"id": ID, "status": "pending_confirmation"})


class Sleeper:
    """Sleeps by moving its own clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class MemoryService:
    """Answers the single calls and the batches of six verbs. `refusals`: the code each of some ids is refused with.

    `whole`: what the next requests are answered with instead, one after the other.
    """

    STATUSES: ClassVar = {"rolled_back": 409, "unknown_message": 404, "busy": 503, "invalid_field": 422}

    def __init__(self) -> None:
        self.refusals: dict[str, str] = {}
        self.whole: list[Response | NoAnswer | BaseException] = []
        self.requests: list[Request] = []

    @property
    def asked(self) -> list[tuple[str, list[str]]]:
        """Every request as its verb, and the ids in it; a single call's verb begins with a one."""
        return [self._asked(request) for request in self.requests]

    def answer(self, request: Request) -> Response:
        """What the service says."""
        self.requests.append(request)
        if self.whole:
            instead = self.whole.pop(0)
            if isinstance(instead, BaseException):
                raise instead
            return instead
        verb, ids = self._asked(request)
        if not verb.startswith("1 "):
            return answered({"results": [self._result(each) for each in ids]})
        code = self.refusals.get(ids[0])
        return refused(self.STATUSES[code], code) if code else answered(self._result(ids[0]))

    def _result(self, message_id: str) -> dict[str, Any]:
        if code := self.refusals.get(message_id):
            status = {"status": code} if code == "rolled_back" else {}
            return {"id": message_id, "error": {"code": code, "detail": "A sentence.", **status}}
        return {"id": message_id, "status": f"of {message_id}"}

    def _asked(self, request: Request) -> tuple[str, list[str]]:
        body = msgspec.json.decode(request.body)
        parts = request.url.split("/v1/")[1].split("/")
        if parts[0] == "batch":
            return parts[1], [each["id"] for each in body["items"]]
        return ("1 prepare", [body["id"]]) if len(parts) == 1 else (f"1 {parts[2]}", [parts[1]])


class Gate:
    """A transport that lets requests through to a service when the test opens it. `arrivals`: how many came so far."""

    def __init__(self, service: MemoryService) -> None:
        self.service = service
        self.arrivals = 0
        self._passes = threading.Semaphore(0)

    def open(self, requests: int = 1000) -> None:
        """Let so many requests through."""
        self._passes.release(requests)

    def send(self, request: Request) -> Response:
        """Wait for the gate."""
        self.arrivals += 1
        if not self._passes.acquire(timeout=30):
            raise AssertionError("The test never opened the gate.")
        return self.service.answer(request)

    def close(self) -> None:
        """Nothing to close."""


class AsyncGate(Gate):
    """The same, awaitable."""

    async def send(self, request: Request) -> Response:  # type: ignore[override]
        """Wait for the gate."""
        self.arrivals += 1
        async with asyncio.timeout(30):
            while not self._passes.acquire(blocking=False):  # noqa: ASYNC110 - an event would belong to one loop
                await asyncio.sleep(0)
        return self.service.answer(request)

    async def close(self) -> None:  # type: ignore[override]
        """Nothing to close."""
