"""`/v1/batch`: the same verbs for up to 1,000 items. A bad item is its own answer and spoils no other."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from aftercommit.api.answers import Answer
from aftercommit.api.call import Call, Context
from aftercommit.api.messages import traceparent
from aftercommit.api.outcomes import batch_answer, is_message_id, item_error, item_result
from aftercommit.api.route import BATCH_BODY_MAX, Route, Tag
from aftercommit.api.strict_json import Reader
from aftercommit.domain.errors import CallerError, Invalid, NotFound
from aftercommit.domain.message import Outcome
from aftercommit.wire import (
    BATCH_ITEMS_MAX,
    BatchAnswer,
    BatchRequest,
    CancelItem,
    CompleteItem,
    ConfirmItem,
    FailItem,
    ItemResult,
    PrepareRequest,
)

AnyItem: TypeAlias = PrepareRequest | ConfirmItem | CancelItem | CompleteItem | FailItem
Item = TypeVar("Item", bound=AnyItem)


# A body with fewer commas cannot hold so many items that reading them all would hurt.
_COMMAS_HARMLESS: Final = 100_000
_TOO_MANY: Final = "Expected `array` of at most length"


class _Id(msgspec.Struct):
    """Of an item that cannot be read, at least the id, so that its sender knows which one it was."""

    id: str | None = None


class Batch(Generic[Item]):
    """Reads items of one kind, has the good ones settled together, and puts all answers in order."""

    def __init__(self, shape: type[Item]) -> None:
        self._reader: Reader[Item] = Reader(shape)
        # A prepare may name a new id or none; every other item is about a message there is.
        self._existing = shape is not PrepareRequest

    async def answer(self, request: BatchRequest, settle: Callable[[list[Item]], Awaitable[Any]]) -> Answer:
        """One result per item. `settle` answers the readable items, in order."""
        if len(request.items) > BATCH_ITEMS_MAX:
            raise _too_many_items()
        read = [self._read(bytes(raw)) for raw in request.items]
        good = [each for each in read if not isinstance(each, ItemResult)]
        settled = iter(zip(good, await settle(good), strict=True)) if good else iter(())
        return batch_answer(
            [each if isinstance(each, ItemResult) else _result(*next(settled)) for each in read],
        )

    def _read(self, raw: bytes) -> Item | ItemResult:
        try:
            item = self._reader.read(raw)
            if self._existing and not is_message_id(item.id or ""):
                raise NotFound("unknown_message", f"There is no message {(item.id or '')[:80]!r}.")
        except CallerError as error:
            return item_error(error, _id_of(raw))
        return item


def require_bounded(body: bytes) -> None:
    """Refuse millions of items without making an object of each: reading stops at the first one too many."""
    if body.count(b",") <= _COMMAS_HARMLESS:
        return
    try:
        _BOUNDED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if str(error).startswith(_TOO_MANY):
            raise _too_many_items() from None
        # Everything else the reader will find as well, and name.


def _too_many_items() -> Invalid:
    return Invalid("too_many_items", f"A batch holds at most {BATCH_ITEMS_MAX} items.", "/items")


def _result(item: AnyItem, answer: Outcome | CallerError) -> ItemResult:
    return item_error(answer, item.id) if isinstance(answer, CallerError) else item_result(answer)


def _id_of(raw: bytes) -> str | None:
    try:
        found = msgspec.json.decode(raw, type=_Id).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found[:80] if found else None


# A list of any length is read as a whole before its length is judged; an array of named places is not.
_PLACES: Final = msgspec.defstruct(
    "_Places",
    [(f"item_{number}", msgspec.Raw | UnsetType, UNSET) for number in range(BATCH_ITEMS_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
)
_BOUNDED: Final = msgspec.json.Decoder(msgspec.defstruct("_Bounded", [("items", _PLACES)]))
_PREPARES: Final = Batch(PrepareRequest)
_CONFIRMS: Final = Batch(ConfirmItem)
_CANCELS: Final = Batch(CancelItem)
_COMPLETES: Final = Batch(CompleteItem)
_FAILS: Final = Batch(FailItem)


async def prepare(context: Context, call: Call[BatchRequest]) -> Answer:
    """Store many messages. Items with the same id apply in order."""
    trace, intake = traceparent(call.headers), context.services.intake
    return await _PREPARES.answer(call.body, lambda items: intake.prepare_many(call.caller, items, trace))


async def confirm(context: Context, call: Call[BatchRequest]) -> Answer:
    """Confirm many messages, each `{id}`."""
    intake = context.services.intake
    return await _CONFIRMS.answer(
        call.body, lambda items: intake.confirm_many(call.caller, [each.id for each in items])
    )


async def cancel(context: Context, call: Call[BatchRequest]) -> Answer:
    """Cancel many messages, each `{id, reason?}`."""
    return await _CANCELS.answer(call.body, lambda items: context.services.intake.cancel_many(call.caller, items))


async def complete(context: Context, call: Call[BatchRequest]) -> Answer:
    """Complete many deliveries, each `{id, subscription?}`."""
    return await _COMPLETES.answer(call.body, lambda items: context.services.reports.complete_many(call.caller, items))


async def fail(context: Context, call: Call[BatchRequest]) -> Answer:
    """Refuse many deliveries for good, each `{id, reason, subscription?}`."""
    return await _FAILS.answer(call.body, lambda items: context.services.reports.fail_many(call.caller, items))


async def status(context: Context, call: Call[BatchRequest]) -> Answer:
    """Read the present status of many messages, each `{id}`. Changes nothing."""
    intake = context.services.intake
    return await _CONFIRMS.answer(call.body, lambda items: intake.statuses(call.caller, [each.id for each in items]))


def _batch(
    verb: str, summary: str, handler: Callable[[Context, Call[BatchRequest]], Awaitable[Answer]], items: type
) -> Route[Any]:
    return Route(
        method="POST",
        path=f"/v1/batch/{verb}",
        summary=summary,
        tag=Tag.BATCHES,
        handler=handler,
        body=BatchRequest,
        items=items,
        answer=BatchAnswer,
        body_max=BATCH_BODY_MAX,
        precheck=require_bounded,
        problems=("too_many_items", "overloaded"),
    )


ROUTES: Final = (
    _batch("prepare", "Prepare many messages", prepare, PrepareRequest),
    _batch("confirm", "Confirm many messages", confirm, ConfirmItem),
    _batch("cancel", "Cancel many messages", cancel, CancelItem),
    _batch("complete", "Complete many deliveries", complete, CompleteItem),
    _batch("fail", "Fail many deliveries", fail, FailItem),
    _batch("status", "Read many statuses", status, ConfirmItem),
)
