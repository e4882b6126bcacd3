"""A message made ready for NATS: its subject, its headers, its size."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from aftercommit.brokers import envelope
from aftercommit.brokers.nats_topology import STREAM, subject
from aftercommit.ports.broker import Outgoing

_MSG_ID: Final = "Nats-Msg-Id"
_EXPECTED_STREAM: Final = "Nats-Expected-Stream"
# Headers of this kind are commands to the server.
_COMMANDS: Final = "nats-"
_EVERYBODY: Final = "*"
# "NATS/1.0" and the empty line at the end of the headers; ": " and the line's end of each.
_FRAME_BYTES: Final = 12
_LINE_BYTES: Final = 4
_SURELY_SMALL_BYTES: Final = 64 * 1024


class Letter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One publish. `place`: where its answer goes in the batch. `msg_id`: what the server knows duplicates by."""

    place: int
    subject: str
    msg_id: str
    headers: dict[str, str]
    payload: bytes

    def under(self, msg_id: str) -> "Letter":
        """The same under another id."""
        return msgspec.structs.replace(self, msg_id=msg_id, headers={**self.headers, _MSG_ID: msg_id})


def letter(outgoing: Outgoing, place: int, max_bytes: int) -> Letter:
    """Make a message ready. Raises `envelope.CannotCarry`, also where it is larger than the server's `max_bytes`."""
    for name, _value in outgoing.content.headers:
        if name.lower().startswith(_COMMANDS):
            raise envelope.CannotCarry(f"Its header {name!r} would be a command to the NATS server.")
    msg_id = f"{outgoing.id}:{envelope.meant_for(outgoing) or _EVERYBODY}:{outgoing.attempt}"
    headers = {_MSG_ID: msg_id, _EXPECTED_STREAM: STREAM, **envelope.headers(outgoing)}
    payload = outgoing.content.payload
    if len(payload) + _SURELY_SMALL_BYTES > max_bytes:
        # The client looks at the payload only, and a server that gets more than it takes ends the connection.
        size = len(payload) + _headers_bytes(headers)
        if size > max_bytes:
            raise envelope.CannotCarry(f"It has {size} bytes with its headers, and the NATS server takes {max_bytes}.")
    return Letter(place=place, subject=subject(outgoing.topic), msg_id=msg_id, headers=headers, payload=payload)


def slices(letters: Sequence[Letter], bytes_max: int) -> Iterator[Sequence[Letter]]:
    """Runs of letters of at most so many bytes of payload each, or of one letter."""
    start = size = 0
    for index, each in enumerate(letters):
        if index > start and size + len(each.payload) > bytes_max:
            yield letters[start:index]
            start, size = index, 0
        size += len(each.payload)
    if start < len(letters):
        yield letters[start:]


def _headers_bytes(headers: dict[str, str]) -> int:
    return _FRAME_BYTES + sum(len(name) + len(value.encode()) + _LINE_BYTES for name, value in headers.items())
