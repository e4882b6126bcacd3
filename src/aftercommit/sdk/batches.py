"""Batches: many items in as few calls as the limits allow, and results in the order of the items."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from aftercommit.sdk.calls import Call, with_body
from aftercommit.sdk.errors import Invalid
from aftercommit.wire import (
    BATCH_ITEMS_MAX,
    BatchAnswer,
    CancelItem,
    CompleteItem,
    ConfirmItem,
    FailItem,
    PrepareRequest,
)

BATCH_BYTES_MAX = 8 * 1024 * 1024
_OPENING, _CLOSING = b'{"items":[', b"]}"


def prepare(messages: Iterable[PrepareRequest]) -> list[Call[BatchAnswer]]:
    """Store messages."""
    return _calls("prepare", list(messages))


def confirm(message_ids: Iterable[str]) -> list[Call[BatchAnswer]]:
    """Confirm messages."""
    return _calls("confirm", [ConfirmItem(id=each) for each in message_ids])


def cancel(items: Iterable[str | CancelItem], reason: str | None = None) -> list[Call[BatchAnswer]]:
    """Cancel messages; `reason` goes with every plain id."""
    return _calls("cancel", [CancelItem(id=each, reason=reason) if isinstance(each, str) else each for each in items])


def complete(items: Iterable[str | CompleteItem], subscription: str | None = None) -> list[Call[BatchAnswer]]:
    """Report messages complete; `subscription` goes with every plain id."""
    return _calls(
        "complete",
        [CompleteItem(id=each, subscription=subscription) if isinstance(each, str) else each for each in items],
    )


def fail(
    items: Iterable[str | FailItem], reason: str | None = None, subscription: str | None = None
) -> list[Call[BatchAnswer]]:
    """Refuse messages for good; `reason` and `subscription` go with every plain id. TypeError without any reason."""
    return _calls("fail", [_fail_item(each, reason, subscription) for each in items])


def status(message_ids: Iterable[str]) -> list[Call[BatchAnswer]]:
    """Read statuses."""
    return _calls("status", [ConfirmItem(id=each) for each in message_ids])


def _fail_item(item: str | FailItem, reason: str | None, subscription: str | None) -> FailItem:
    if isinstance(item, FailItem):
        return item
    if reason is None:
        raise TypeError(f"Message {item} is failed without a reason; give one.")
    return FailItem(id=item, reason=reason, subscription=subscription)


def _calls(verb: str, items: Sequence[msgspec.Struct]) -> list[Call[BatchAnswer]]:
    encoded = [msgspec.json.encode(each) for each in items]
    return [
        replace(
            with_body("POST", f"/v1/batch/{verb}", _OPENING + b",".join(chunk) + _CLOSING, BatchAnswer),
            items=len(chunk),
        )
        for chunk in _chunks(verb, encoded)
    ]


def _chunks(verb: str, items: Sequence[bytes]) -> list[list[bytes]]:
    chunks: list[list[bytes]] = []
    room = 0
    envelope = len(_OPENING) + len(_CLOSING)
    for index, item in enumerate(items):
        # Nothing is sent of a list of which one item can never be sent.
        if envelope + len(item) > BATCH_BYTES_MAX:
            detail = f"Item {index} of this {verb} has {len(item)} bytes, more than one request may have."
            raise Invalid("too_large", detail, pointer=f"/items/{index}")
        if not chunks or len(chunks[-1]) >= BATCH_ITEMS_MAX or len(item) + 1 > room:
            chunks.append([])
            room = BATCH_BYTES_MAX - envelope + 1
        chunks[-1].append(item)
        room -= len(item) + 1
    return chunks
