"""Lists of any length: as many loads as the limits of a batch make of them, in the order of the items."""

from collections.abc import Iterable, Sequence

import msgspec

from aftercommit.sdk.clients.loads import Load, Room, joined
from aftercommit.sdk.errors import Invalid
from aftercommit.wire import CancelItem, CompleteItem, ConfirmItem, FailItem, PrepareRequest


def prepare(messages: Iterable[PrepareRequest]) -> list[Load]:
    """Store messages."""
    return _loads("prepare", list(messages))


def confirm(message_ids: Iterable[str]) -> list[Load]:
    """Confirm messages."""
    return _loads("confirm", [ConfirmItem(id=each) for each in message_ids])


def cancel(items: Iterable[str | CancelItem], reason: str | None = None) -> list[Load]:
    """Cancel messages; `reason` goes with every plain id."""
    return _loads("cancel", [CancelItem(id=each, reason=reason) if isinstance(each, str) else each for each in items])


def complete(items: Iterable[str | CompleteItem], subscription: str | None = None) -> list[Load]:
    """Report messages complete; `subscription` goes with every plain id."""
    return _loads(
        "complete",
        [CompleteItem(id=each, subscription=subscription) if isinstance(each, str) else each for each in items],
    )


def fail(items: Iterable[str | FailItem], reason: str | None = None, subscription: str | None = None) -> list[Load]:
    """Refuse messages for good; `reason` and `subscription` go with every plain id. TypeError without any reason."""
    return _loads("fail", [_fail_item(each, reason, subscription) for each in items])


def status(message_ids: Iterable[str]) -> list[Load]:
    """Read statuses."""
    return _loads("status", [ConfirmItem(id=each) for each in message_ids])


def _fail_item(item: str | FailItem, reason: str | None, subscription: str | None) -> FailItem:
    if isinstance(item, FailItem):
        return item
    if reason is None:
        raise TypeError(f"Message {item} is failed without a reason; give one.")
    return FailItem(id=item, reason=reason, subscription=subscription)


def _loads(verb: str, items: Sequence[msgspec.Struct]) -> list[Load]:
    return [_load(verb, chunk) for chunk in _chunks(verb, [msgspec.json.encode(each) for each in items])]


def _load(verb: str, chunk: list[bytes]) -> Load:
    return Load(verb, chunk, lambda: joined(verb, chunk))


def _chunks(verb: str, items: Sequence[bytes]) -> list[list[bytes]]:
    chunks: list[list[bytes]] = []
    room = Room()
    for index, item in enumerate(items):
        # Nothing is sent of a list of which one item can never be sent.
        if not Room().take([item]):
            detail = f"Item {index} of this {verb} has {len(item)} bytes, more than one request may have."
            raise Invalid("too_large", detail, pointer=f"/items/{index}").at(verb)
        if not chunks or not room.take([item]):
            room = Room()
            room.take([item])
            chunks.append([])
        chunks[-1].append(item)
    return chunks
