"""The ledger as a transaction and a checker see it, over a blocking socket or over asyncio."""

import asyncio
import hashlib
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from aftercommit import wire
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.errors import Unreachable, error_of_item
from aftercommit.wire import ItemError
from tests.races.ledger import CONFIRMED, PENDING, ROLLED_BACK

_GOOD: Final = {"prepare": (PENDING, CONFIRMED), "confirm": (CONFIRMED,), "cancel": (ROLLED_BACK,)}
_CODES: Final = {CONFIRMED: "already_confirmed"}


class _Line(Protocol):
    async def ask(self, request: dict[str, Any]) -> Any:
        """Send a request and wait for its answer. Raises `Unreachable`."""


class LedgerService:
    """`sdk.service.Service` for what a local transaction needs, and what a checker does."""

    def __init__(self, port: int, *, blocking: bool) -> None:
        self._line: _Line = _BlockingLine(port) if blocking else _AwaitedLine(port)

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Store messages."""
        return await self._tell(
            "prepare", [each.id or "" for each in messages], items=[_item(each) for each in messages]
        )

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Their local transaction committed."""
        return await self._tell("confirm", message_ids, ids=list(message_ids))

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        """Their local transaction can never commit."""
        return await self._tell("cancel", message_ids, ids=list(message_ids), reason=reason)

    async def complete(self, items: Sequence[wire.CompleteItem]) -> list[BatchResult]:
        """Nothing is consumed here."""
        raise AssertionError(f"Nobody completes anything in a race: {items}")

    async def fail(self, items: Sequence[wire.FailItem]) -> list[BatchResult]:
        """Nothing is consumed here."""
        raise AssertionError(f"Nobody fails anything in a race: {items}")

    async def status(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Nothing is purged here."""
        raise AssertionError(f"Nobody asks for a status in a race: {message_ids}")

    async def due(self, count: int) -> list[str]:
        """Ids to be checked now."""
        due: list[str] = await self._line.ask({"verb": "due", "count": count})
        return due

    async def answer(self, outcomes: Mapping[str, str]) -> None:
        """What a check found; the first definitive answer is applied."""
        await self._line.ask({"verb": "answer", "outcomes": dict(outcomes)})

    async def _tell(self, verb: str, message_ids: Sequence[str], **fields: Any) -> list[BatchResult]:
        answers = await self._line.ask({"verb": verb, **fields})
        return [_result(verb, message_id, each) for message_id, each in zip(message_ids, answers, strict=True)]


class _BlockingLine:
    def __init__(self, port: int) -> None:
        self._port = port
        self._file: Any = None

    async def ask(self, request: dict[str, Any]) -> Any:
        try:
            if self._file is None:
                with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
                    self._file = connection.makefile("rwb")
            self._file.write(json.dumps(request).encode() + b"\n")
            self._file.flush()
            answer = self._file.readline()
        except OSError as error:
            self._file = None
            raise _lost(error) from error
        if not answer:
            self._file.close()
            self._file = None
            raise _lost("it hung up")
        return json.loads(answer)


class _AwaitedLine:
    """Several tasks may use it; each question has its answer before the next."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: dict[str, Any]) -> Any:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            answer = await reader.readline()
        except OSError as error:
            self._streams = None
            raise _lost(error) from error
        if not answer:
            writer.close()
            self._streams = None
            raise _lost("it hung up")
        return json.loads(answer)


def _item(message: wire.PrepareRequest) -> tuple[str, str]:
    digest = hashlib.sha256(msgspec.json.encode(message.payload)).hexdigest()[:12]
    return message.id or "", digest


def _result(verb: str, message_id: str, answer: str) -> BatchResult:
    if answer in _GOOD[verb]:
        return BatchResult(id=message_id, status=answer)
    code = _CODES.get(answer, answer)
    return BatchResult(id=message_id, error=error_of_item(ItemError(code=code, detail=f"It is {answer}.")))


def _lost(why: object) -> Unreachable:
    return Unreachable(f"The ledger did not answer: {why}.", perhaps_received=True, repeatable=True)
