"""What JetStream answers to a publish, and the window in which answers are awaited."""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from nats.aio.msg import Msg

from aftercommit.ports.broker import Accepted, Answer, Refused, Unavailable

_NO_RESPONDERS: Final = "503"
# JetStream's own numbers of errors: the message or its headers are larger than the stream takes.
_TOO_LARGE: Final = frozenset({10054, 10097})
# Another stream takes this subject.
_WRONG_STREAM: Final = 10060
_BAD_REQUEST: Final = 400


class Duplicate(msgspec.Struct, frozen=True):
    """A message of that `Nats-Msg-Id` is stored already; this one is not."""


class NoStream(msgspec.Struct, frozen=True):
    """No stream takes the subject."""


class Lost(msgspec.Struct, frozen=True):
    """The connection went while the answer was awaited: it may be stored or not."""

    reason: str


Heard: TypeAlias = Answer | Duplicate | NoStream | Lost


class Window:
    """Publishes of which each waits for an answer; `done` is set when all have theirs. The first answer counts."""

    def __init__(self, size: int) -> None:
        self.done = asyncio.Event()
        self._answers: list[Heard | None] = [None] * size
        self._left = size

    @property
    def answers(self) -> Sequence[Heard | None]:
        """What was answered to each; None: nothing yet."""
        return self._answers

    def answer(self, index: int, heard: Heard) -> None:
        """What was answered to one of them."""
        if self._answers[index] is None:
            self._answers[index] = heard
            self._left -= 1
            if self._left == 0:
                self.done.set()

    def give_up(self, lost: Lost) -> None:
        """No more answers will come."""
        for index in range(len(self._answers)):
            self.answer(index, lost)


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Reply(msgspec.Struct, frozen=True):
    duplicate: bool = False
    error: _Error | None = None


_decoder: Final = msgspec.json.Decoder(_Reply)


def read_answer(message: Msg) -> Heard:
    """What JetStream's answer to a publish means. What cannot be read says nothing about the message."""
    if message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS:
        return NoStream()
    try:
        reply = _decoder.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unavailable("The broker's answer cannot be read.")
    if reply.error is not None:
        return _refusal(reply.error)
    return Duplicate() if reply.duplicate else Accepted()


def _refusal(error: _Error) -> Answer:
    said = f"JetStream says: {error.description or 'an error'} ({error.err_code})."
    if error.err_code in _TOO_LARGE:
        return Refused(said, final=True)
    if error.code == _BAD_REQUEST and error.err_code != _WRONG_STREAM:
        return Refused(said)
    # Full, short of resources, without a leader, somebody else's subject: it is not the message.
    return Unavailable(said)
