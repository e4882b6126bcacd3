"""The least that a service does, for races by the thousand: compare-and-set from pending to confirmed or rolled back.

Not the real service (see `real_node` for that): one table in one thread's memory, spoken to in lines of JSON over TCP.
Every request and every answer is in its journal. Requests get lost on the way, answers too, and some take their time.
"""

import asyncio
import json
import threading
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from tests.races.journal import Journal
from tests.races.settler import Reached

PENDING: Final = "pending"
CONFIRMED: Final = "confirmed"
ROLLED_BACK: Final = "rolled_back"
_OF_OUTCOME: Final = {"committed": CONFIRMED, "rolled_back": ROLLED_BACK}

_LOST_OF: Final = {"prepare": 0.04, "confirm": 0.2, "cancel": 0.2}
_SLOW_OF: Final = {"prepare": 0.35, "confirm": 0.3}
_SLOW_SECONDS_MAX: Final = 0.03
# Of the ids handed out to be checked, how many are settled already: a check may come late, too.
_SETTLED_SHARE: Final = 0.15
_NEW_SHARE: Final = 0.6


@dataclass(slots=True)
class _Message:
    digest: str
    status: str = PENDING
    checked: bool = False


class Ledger:
    """Listens on a free port; use it as a context manager. `calm` ends its own misbehaviour."""

    def __init__(self, journal: Journal, seed: str) -> None:
        self.port = 0
        self.raced = 0
        self._calm = False
        self._journal = journal
        self._chance = Random(seed)
        self._messages: dict[str, _Message] = {}
        self._pending: dict[str, None] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._calls: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "The ledger did not start."
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def reached(self) -> Reached:
        """How to reach it."""
        return Reached(ledger_port=self.port)

    @property
    def undecided(self) -> int:
        """How many messages are pending."""
        return len(self._pending)

    def statuses(self) -> dict[str, str]:
        """Every message and its status."""
        return {message_id: each.status for message_id, each in self._messages.copy().items()}

    def strike(self) -> bool:
        """It lives in the campaign's own process."""
        return False

    def calm(self) -> None:
        """Lose and delay nothing more."""
        self._calm = True

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        calls = list(self._calls)
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            while line := await reader.readline():
                answer = await self._answer(json.loads(line))
                if answer is None:
                    break
                writer.write(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError, asyncio.CancelledError):
            # A caller that was killed, perhaps in the middle of a line; or all is over.
            self._journal.write("hung_up")
        finally:
            writer.transport.abort()
            self._calls.discard(call)

    async def _answer(self, request: dict[str, Any]) -> Any:
        verb = request["verb"]
        lost = not self._calm and self._chance.random() < _LOST_OF.get(verb, 0.0)
        slow = not self._calm and self._chance.random() < _SLOW_OF.get(verb, 0.0)
        pause = self._chance.uniform(0.0, _SLOW_SECONDS_MAX) if slow else 0.0
        if verb != "prepare":
            await asyncio.sleep(pause)
        if lost and self._chance.random() < 0.5:
            self._journal.write("service", verb=verb, ids=_ids(request), answers=None)
            return None
        answer = self._do(verb, request)
        if verb != "due":
            self._journal.write("service", verb=verb, ids=_ids(request), answers=answer, lost=lost)
        if verb == "prepare":
            # A check may come before the answer to prepare does.
            await asyncio.sleep(pause)
        return None if lost else answer

    def _do(self, verb: str, request: dict[str, Any]) -> Any:
        match verb:
            case "prepare":
                return [self._prepare(message_id, digest) for message_id, digest in request["items"]]
            case "confirm":
                return [self._settle(message_id, CONFIRMED) for message_id in request["ids"]]
            case "cancel":
                return [self._settle(message_id, ROLLED_BACK, tombstone=True) for message_id in request["ids"]]
            case "answer":
                return [
                    self._settle(message_id, _OF_OUTCOME[outcome])
                    for message_id, outcome in request["outcomes"].items()
                    if outcome in _OF_OUTCOME
                ]
            case "due":
                return self._due(request["count"])
        raise ValueError(f"The ledger knows no {verb!r}.")

    def _prepare(self, message_id: str, digest: str) -> str:
        message = self._messages.get(message_id)
        if message is None:
            message = self._messages[message_id] = _Message(digest)
            self._pending[message_id] = None
        elif message.status == ROLLED_BACK:
            return "rolled_back"
        elif message.digest != digest:
            return "id_conflict"
        return message.status

    def _settle(self, message_id: str, status: str, *, tombstone: bool = False) -> str:
        message = self._messages.get(message_id)
        if message is None:
            if not tombstone:
                return "unknown_message"
            # Cancelled before its prepare arrived: that will be refused.
            self._messages[message_id] = _Message("", ROLLED_BACK)
            return ROLLED_BACK
        if message.status == PENDING:
            message.status = status
            del self._pending[message_id]
        return message.status

    def _due(self, count: int) -> list[str]:
        """Ids to be checked now: pending ones, and now and then one that is settled."""
        pending = list(self._pending)
        if self._chance.random() < _NEW_SHARE:
            # Nobody asked about these yet, so that they may well be under way.
            pending = [each for each in pending if not self._messages[each].checked] or pending
        due = self._chance.sample(pending, min(count, len(pending)))
        if not self._calm and self._messages and self._chance.random() < _SETTLED_SHARE:
            due.append(self._chance.choice(list(self._messages)))
        for message_id in due:
            message = self._messages[message_id]
            if message.status == PENDING and not message.checked:
                message.checked = True
                self.raced += 1
        return due


def _ids(request: dict[str, Any]) -> list[str]:
    if "items" in request:
        return [message_id for message_id, _ in request["items"]]
    return list(request.get("ids") or request.get("outcomes") or ())
