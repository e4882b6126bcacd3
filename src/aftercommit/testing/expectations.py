"""What a test expects to have been published, and the words for what it found instead."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from aftercommit.domain.lifecycle import LIVE, PARKED, UNCONFIRMED, Status
from aftercommit.sdk.messages import StoredMessage

PUBLISHED: Final = frozenset(Status) - UNCONFIRMED - {Status.ROLLED_BACK}
UNSETTLED: Final = LIVE | PARKED
_SHOWN_MAX: Final = 20
_PAYLOAD_SHOWN_MAX: Final = 120


class Anything:
    """Stands for "do not look at it", where None is a value."""

    def __repr__(self) -> str:
        return "anything"


ANYTHING: Final = Anything()


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages are meant. Each part is a value, a function from the value to bool, or `ANYTHING`.

    `payload` is compared with the decoded JSON, or with the bytes if it is bytes. `headers` must all be there, and
    more may be.
    """

    topic: str
    payload: Any = ANYTHING
    key: Any = ANYTHING
    headers: Mapping[str, Any] | Anything = ANYTHING

    def matches(self, message: StoredMessage) -> bool:
        """Whether the message is meant, whatever its status."""
        return (
            message.topic == self.topic
            and _fits(self.key, lambda: message.key)
            and self._has_headers(message)
            and _fits(self.payload, lambda: _payload(message, self.payload))
        )

    def describe(self) -> str:
        """In words."""
        parts = [("payload", self.payload), ("key", self.key), ("headers", self.headers)]
        given = [f"{name} {_described(value)}" for name, value in parts if value is not ANYTHING]
        return f"to {self.topic!r}" + (f" with {', '.join(given)}" if given else "")

    def _has_headers(self, message: StoredMessage) -> bool:
        if isinstance(self.headers, Anything):
            return True
        return all(
            name in message.headers and _fits(value, lambda name=name: message.headers[name])  # type: ignore[misc]
            for name, value in self.headers.items()
        )


def is_published(message: StoredMessage) -> bool:
    """Whether the service delivers it, has, or gave up trying: it was confirmed, by its initiator or by a check."""
    return message.status in PUBLISHED


def require_published(
    messages: Sequence[StoredMessage], expected: Expectation, count: int | None
) -> list[StoredMessage]:
    """The published messages that match. Raises AssertionError unless there are `count` (None: at least one)."""
    matching = [each for each in messages if expected.matches(each)]
    published = [each for each in matching if is_published(each)]
    if len(published) == count or (count is None and published):
        return published
    wanted = "No message was" if count is None else f"{len(published)} messages instead of {count} were"
    text = f"{wanted} published {expected.describe()}."
    waiting = [each for each in matching if each.status in UNCONFIRMED]
    cancelled = [each for each in matching if each.status == Status.ROLLED_BACK]
    if waiting:
        text += (
            f" {len(waiting)} matching {_be(waiting)} only prepared: no confirm came. If the process died before it,"
            " run_checks() asks about the transaction."
        )
    if cancelled:
        text += f" {len(cancelled)} matching {_be(cancelled)} rolled back."
    raise AssertionError(f"{text}\n{listing(messages)}")


def refuse_published(messages: Sequence[StoredMessage], expected: Expectation) -> None:
    """Raises AssertionError if a published message matches."""
    published = [each for each in messages if expected.matches(each) and is_published(each)]
    if published:
        raise AssertionError(
            f"{len(published)} message{'s' * (len(published) > 1)} {_be(published, past=True)} published"
            f" {expected.describe()}, and should not.\n{listing(published)}"
        )


def require_settled(messages: Sequence[StoredMessage]) -> None:
    """Raises AssertionError if a message is live or parked."""
    open_messages = [each for each in messages if each.status in UNSETTLED]
    if open_messages:
        raise AssertionError(
            f"{len(open_messages)} of {len(messages)} messages {_be(open_messages)} not settled: who prepared confirms"
            f" or cancels, run_checks() asks, drain() delivers.\n{listing(open_messages)}"
        )


def listing(messages: Iterable[StoredMessage], title: str = "There is") -> str:
    """One line per message, newest last."""
    lines = [line(each) for each in messages]
    if not lines:
        return f"{title} no message at all."
    rest = [f"  ... and {len(lines) - _SHOWN_MAX} before these"] if len(lines) > _SHOWN_MAX else []
    return "\n".join([f"{title}:", *rest, *(f"  {each}" for each in lines[-_SHOWN_MAX:])])


def line(message: StoredMessage) -> str:
    """One message in one line."""
    shown = message.body.decode("utf-8", "replace")
    if len(shown) > _PAYLOAD_SHOWN_MAX:
        shown = shown[:_PAYLOAD_SHOWN_MAX] + "..."
    key = "" if message.key is None else f" key={message.key!r}"
    headers = f" headers={message.headers}" if message.headers else ""
    error = f" error={message.error!r}" if message.error else ""
    return f"{message.topic} {message.status}{key} {shown}{headers}{error} ({message.id}, of {message.app})"


def _payload(message: StoredMessage, expected: Any) -> Any:
    if isinstance(expected, bytes):
        return message.body
    try:
        return message.json()
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Bytes that are no JSON are compared as bytes.
        return message.body


def _fits(expected: Any, value: Callable[[], Any]) -> bool:
    if expected is ANYTHING:
        return True
    return bool(expected(value())) if callable(expected) else expected == value()


def _described(value: Any) -> str:
    return f"accepted by {getattr(value, '__name__', value)}" if callable(value) else repr(value)


def _be(messages: Sequence[StoredMessage], *, past: bool = False) -> str:
    one, many = ("was", "were") if past else ("is", "are")
    return one if len(messages) == 1 else many
