"""What parent and worker tell each other, one line of JSON each, over the channel that lives as long as both do."""

from typing import Final, TypeAlias

import msgspec

from aftercommit.settings import Settings

# What a worker has for a graceful stop. A node gives its loops 10 s, then its requests 10 s, then the store writes.
STOP_SECONDS: Final = 30.0


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The parent's only line. Settings hold passwords, and a command line is read by every user of the machine."""

    number: int
    settings: Settings


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker takes connections. `announcement`: the line that says where the node listens."""

    announcement: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The worker cannot run with these settings: `sentence` says why, and what to do."""

    sentence: str


Report: TypeAlias = Ready | Refused


def line_of(said: Handover | Ready | Refused) -> bytes:
    """`said` as it travels."""
    return msgspec.json.encode(said) + b"\n"
