"""What the services answered, as the protocol's answers: one status, or one result per item."""

import re
from collections.abc import Sequence
from typing import Final

from aftercommit.api.answers import Answer, json_answer
from aftercommit.api.problems import refusal
from aftercommit.domain.errors import CallerError, Inconsistency, NotFound
from aftercommit.domain.message import Outcome
from aftercommit.wire import BatchAnswer, ItemError, ItemResult, MessageStatus

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def message_id(text: str) -> str:
    """An id from a path, if it is written as ids are. Nothing else can exist, so nothing else is looked up."""
    if not _CANONICAL.fullmatch(text):
        raise NotFound("unknown_message", f"There is no message {text[:80]!r}: ids are UUIDs in lower case.")
    return text


def is_message_id(text: str) -> bool:
    """Whether an id is written as ids are."""
    return _CANONICAL.fullmatch(text) is not None


def status_answer(outcome: Outcome, *, pointer: str | None = "/subscription", creates: bool = False) -> Answer:
    """`{id, status}`, or the problem that stood in the way. `pointer`: the request's field that names subscriptions.

    `creates`: the call is one that makes messages, so that the first answer is 201. (A cancel may store a tombstone,
    but that is no message.)
    """
    if outcome.refusal is not None:
        return refusal(outcome, outcome.refusal, pointer=pointer)
    return json_answer(
        MessageStatus(id=outcome.id, status=_status(outcome)), 201 if creates and outcome.created else 200
    )


def batch_answer(results: Sequence[Outcome | ItemResult]) -> Answer:
    """One result per item, in order."""
    rendered = [each if isinstance(each, ItemResult) else item_result(each) for each in results]
    return json_answer(BatchAnswer(results=rendered))


def item_result(outcome: Outcome) -> ItemResult:
    """One item's answer."""
    if outcome.refusal is None:
        return ItemResult(id=outcome.id, status=_status(outcome))
    error = ItemError(code=outcome.refusal.value, detail=outcome.detail, status=outcome.status)
    return ItemResult(id=outcome.id, error=error)


def item_error(error: CallerError, item_id: str | None) -> ItemResult:
    """The answer to an item that was refused before anything was looked up."""
    return ItemResult(id=item_id, error=ItemError(code=error.code, detail=error.detail))


def _status(outcome: Outcome) -> str:
    if outcome.status is None:
        raise Inconsistency(f"The command on message {outcome.id} was neither refused nor answered with a status.")
    return outcome.status
