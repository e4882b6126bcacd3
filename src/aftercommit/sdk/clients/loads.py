"""What one caller wants done with one verb, in a form that can go alone or together with others' in a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from aftercommit.sdk.clients import calls
from aftercommit.sdk.clients.answers import BatchResult, read_batch
from aftercommit.sdk.clients.calls import Call, with_body
from aftercommit.wire import (
    BATCH_ITEMS_MAX,
    BatchAnswer,
    CancelItem,
    CompleteItem,
    ConfirmItem,
    FailItem,
    MessageStatus,
    PrepareRequest,
)

BATCH_BYTES_MAX = 8 * 1024 * 1024
# Every one of them may be repeated, which is what gathering rests on.
VERBS: Final = ("prepare", "confirm", "cancel", "complete", "fail", "status")
_OPENING, _CLOSING = b'{"items":[', b"]}"


@dataclass(frozen=True, slots=True)
class Load:
    """`items` of `verb`, encoded as a batch holds them; `alone` makes the call for just these, single or batch."""

    verb: str
    items: Sequence[bytes]
    alone: Callable[[], Call[Any]]


class Room:
    """How much more fits into one batch."""

    def __init__(self) -> None:
        self._items = BATCH_ITEMS_MAX
        self._bytes = BATCH_BYTES_MAX - len(_OPENING) - len(_CLOSING)

    def take(self, items: Sequence[bytes]) -> bool:
        """Take the room these need; False, and nothing is taken, if they do not fit."""
        # A comma for each but the first of all, which is one byte to spare.
        size = sum(map(len, items)) + len(items)
        if len(items) > self._items or size > self._bytes + 1:
            return False
        self._items -= len(items)
        self._bytes -= size
        return True


def joined(verb: str, items: Sequence[bytes]) -> Call[BatchAnswer]:
    """One batch of these items."""
    call = with_body(verb, f"/v1/batch/{verb}", _OPENING + b",".join(items) + _CLOSING, BatchAnswer)
    return replace(call, items=len(items))


def results_of(call: Call[Any], answer: MessageStatus | BatchAnswer) -> list[BatchResult]:
    """One result per item, of a batch or of a single call. Raises `Unexpected` if some are missing."""
    if isinstance(answer, MessageStatus):
        return [BatchResult(id=answer.id, status=answer.status)]
    return read_batch(call, answer)


def prepare(message: PrepareRequest) -> Load:
    """Store a message."""
    item = msgspec.json.encode(message)
    return Load("prepare", [item], lambda: with_body("prepare", "/v1/messages", item, MessageStatus))


def confirm(message_id: str) -> Load:
    """The local transaction committed."""
    return _on_message("confirm", ConfirmItem(id=message_id), lambda: calls.confirm(message_id))


def cancel(message_id: str, reason: str | None = None) -> Load:
    """The local transaction can never commit."""
    return _on_message("cancel", CancelItem(id=message_id, reason=reason), lambda: calls.cancel(message_id, reason))


def complete(message_id: str, subscription: str | None = None) -> Load:
    """The consumer is done with it."""
    item = CompleteItem(id=message_id, subscription=subscription)
    return _on_message("complete", item, lambda: calls.complete(message_id, subscription))


def fail(message_id: str, reason: str, subscription: str | None = None) -> Load:
    """The consumer refuses it for good."""
    item = FailItem(id=message_id, reason=reason, subscription=subscription)
    return _on_message("fail", item, lambda: calls.fail(message_id, reason, subscription))


def _on_message(
    verb: str, item: ConfirmItem | CancelItem | CompleteItem | FailItem, alone: Callable[[], Call[MessageStatus]]
) -> Load:
    # Refused here and not by the service, whether it would go alone, in a path, or in a batch.
    calls.part_of_path(item.id)
    return Load(verb, [msgspec.json.encode(item)], alone)
