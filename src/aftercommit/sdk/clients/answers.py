"""From status, headers and body to a typed answer, or to the error that says why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.errors import Refused, Unavailable, Unexpected, error_of_item, refusal_of
from aftercommit.wire import BatchAnswer, ItemResult, MessageStatus, Problem

T = TypeVar("T")

# 408: the request came too slowly. A gateway's 502 and 504 count too: the service may have got the request, or not.
_TEMPORARY = frozenset({408, 429, 502, 503, 504})
_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one item: `status`, or the `error` a single call would have raised.

    for result in client.confirm_batch(message_ids):
        if not result.ok:
            print(result.id, result.error)
    """

    id: str | None
    status: str | None = None
    error: Refused | Unavailable | None = None

    @property
    def ok(self) -> bool:
        """Whether the item was done."""
        return self.error is None

    def unwrap(self) -> MessageStatus:
        """The answer of the single call; raises its error."""
        if self.error is not None:
            raise self.error
        return MessageStatus(id=self.id or "", status=self.status or "")


def read(call: Call[T], response: Response) -> T:
    """The answer to `call`. Raises `Refused`, `Unavailable` or `Unexpected`, which say the call's step."""
    if 200 <= response.status < 300:
        return _answer(call, response)
    problem = _problem(response.body)
    if response.status in _TEMPORARY:
        raise _unavailable(problem, response).at(call.step)
    # Only what the service itself says is a refusal: a proxy's 404 must not make a consumer drop a message.
    if problem is None or not 400 <= response.status < 500:
        raise _unexpected(call, response, "which this protocol does not know")
    raise refusal_of(problem, response.status).at(call.step)


def read_batch(call: Call[BatchAnswer], answer: BatchAnswer) -> list[BatchResult]:
    """The results of one call of a batch, in the order of its items. Raises `Unexpected` if some are missing."""
    if len(answer.results) != call.items:
        detail = f"{call.path} answered {len(answer.results)} results for {call.items} items."
        raise Unexpected(detail, status=200).at(call.step)
    return [_result(call.step, each) for each in answer.results]


def _result(step: str, item: ItemResult) -> BatchResult:
    if item.error is not None:
        error = error_of_item(item.error)
        error.at(step)
        return BatchResult(id=item.id, error=error)
    return BatchResult(id=item.id, status=item.status)


def _answer(call: Call[T], response: Response) -> T:
    if call.answer is type(None):
        return None
    try:
        return msgspec.json.decode(response.body, type=call.answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unexpected(call, response, f"which cannot be read ({error})") from None


def _problem(body: bytes) -> Problem | None:
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _unavailable(problem: Problem | None, response: Response) -> Unavailable:
    seconds = response.headers.get("retry-after", "")
    return Unavailable(
        problem.code if problem else "unavailable",
        problem.detail if problem else f"The service, or a gateway before it, answered {response.status}.",
        status=response.status,
        # The other form, a date, would need a clock both sides agree on; the service never sends it.
        retry_after_seconds=float(seconds) if seconds.isascii() and seconds.isdigit() else None,
    )


def _unexpected(call: Call[T], response: Response, why: str) -> Unexpected:
    shown = response.body[:_SHOWN_MAX].decode("utf-8", "replace")
    detail = f"{call.method} {call.path} was answered with {response.status}, {why}: {shown!r}"
    return Unexpected(detail, status=response.status).at(call.step)
