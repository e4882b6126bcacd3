"""Every call of an initiator or a consumer as a value: what would be sent, without sending it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from aftercommit import wire
from aftercommit.sdk.messages import PullAnswer

T = TypeVar("T")

_JSON_BODY = MappingProxyType({"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call of the API. `step` is its name in errors; `path` includes the query; `answer` is the type the body is
    read into (NoneType: none).

    `repeatable`: making it twice does no more than making it once. `wait_seconds`: how long the service may hold the
    call on purpose; the caller's own time-out begins after that. `items`: how many results a batch must answer.
    """

    step: str
    method: str
    path: str
    answer: type[T]
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    wait_seconds: float = 0
    items: int = 0


def prepare(message: wire.PrepareRequest) -> Call[wire.MessageStatus]:
    """Store a message whose delivery waits for its confirmation."""
    return post("prepare", "/v1/messages", message, wire.MessageStatus)


def confirm(message_id: str) -> Call[wire.MessageStatus]:
    """The local transaction committed: deliver it."""
    return on_message(message_id, "confirm", wire.ConfirmRequest())


def cancel(message_id: str, reason: str | None = None) -> Call[wire.MessageStatus]:
    """The local transaction can never commit any more: do not deliver it."""
    return on_message(message_id, "cancel", wire.CancelRequest(reason=reason))


def complete(message_id: str, subscription: str | None = None) -> Call[wire.MessageStatus]:
    """The consumer is done with it."""
    return on_message(message_id, "complete", wire.CompleteRequest(subscription=subscription))


def fail(message_id: str, reason: str, subscription: str | None = None) -> Call[wire.MessageStatus]:
    """The consumer refuses it for good."""
    return on_message(message_id, "fail", wire.FailRequest(reason=reason, subscription=subscription))


def pull(topic: str, subscription: str, messages_max: int = 1, wait_seconds: float = 0) -> Call[PullAnswer]:
    """Fetch due deliveries. Repeatable: what a lost answer held comes again at its redelivery time."""
    request = wire.PullRequest(max=messages_max, wait_seconds=wait_seconds)
    call_path = path("v1", "topics", topic, "subscriptions", subscription, "pull")
    return post("pull", call_path, request, PullAnswer, wait_seconds=wait_seconds)


def ready() -> Call[None]:
    """Ask whether the service can do its work."""
    return Call("ready", "GET", "/readyz", type(None))


def path(*parts: str) -> str:
    """A path of these parts. Raises ValueError for a part that would lead elsewhere."""
    return "/" + "/".join(quote(part_of_path(part), safe="") for part in parts)


def part_of_path(part: str) -> str:
    """The part, if it can be one. Raises ValueError for one that would lead elsewhere."""
    if part in {"", ".", ".."}:
        raise ValueError(f"{part!r} is not an id or a name.")
    return part


def get(step: str, call_path: str, answer: type[T], query: Mapping[str, Any] | None = None) -> Call[T]:
    """A reading call; what is None in the query is left out."""
    pairs = [(name, value) for name, value in (query or {}).items() if value is not None]
    return Call(step, "GET", f"{call_path}?{urlencode(pairs)}" if pairs else call_path, answer)


def post(step: str, call_path: str, request: msgspec.Struct, answer: type[T], *, wait_seconds: float = 0) -> Call[T]:
    """A call with a JSON body."""
    return with_body(step, call_path, msgspec.json.encode(request), answer, wait_seconds=wait_seconds)


def with_body(
    step: str,
    call_path: str,
    body: bytes,
    answer: type[T],
    *,
    method: str = "POST",
    repeatable: bool = True,
    wait_seconds: float = 0,
) -> Call[T]:
    """A call with a JSON body that is already encoded."""
    return Call(step, method, call_path, answer, body, _JSON_BODY, repeatable, wait_seconds)


def on_message(message_id: str, verb: str, request: msgspec.Struct) -> Call[wire.MessageStatus]:
    """A verb on one message."""
    return post(verb, path("v1", "messages", message_id, verb), request, wire.MessageStatus)


def listed(values: Sequence[str] | None) -> list[str] | None:
    """A list as the wire wants it."""
    return None if values is None else list(values)
