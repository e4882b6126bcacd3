"""What a message looks like on any broker: the payload as body, everything else as headers (protocol, section 6)."""

import re
from typing import Final

from aftercommit.ports.broker import Outgoing

ID: Final = "aftercommit-id"
TOPIC: Final = "aftercommit-topic"
ATTEMPT: Final = "aftercommit-attempt"
KEY: Final = "aftercommit-key"
APP: Final = "aftercommit-app"
FOR: Final = "aftercommit-for"
CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"

# What would end a header in some transport or other. The door refuses it; this is the last look.
_BREAKING: Final = re.compile("[\r\n\x00]")


class CannotCarry(ValueError):
    """This message cannot be put on that broker, now or ever; the text says why."""


def headers(outgoing: Outgoing) -> dict[str, str]:
    """The headers of a message, ours first, then the initiator's own in their order; one value for each name.

    Raises `CannotCarry` for a value that is no single line of UTF-8.

        headers(outgoing)["aftercommit-attempt"]  # "1"
    """
    content = outgoing.content
    named = {ID: outgoing.id, TOPIC: outgoing.topic, ATTEMPT: str(outgoing.attempt), APP: outgoing.app}
    if content.key is not None:
        named[KEY] = content.key
    if outgoing.subscriptions is not None:
        named[FOR] = meant_for(outgoing)
    named[CONTENT_TYPE] = content.content_type
    if content.traceparent is not None:
        named[TRACEPARENT] = content.traceparent
    for name, value in content.headers:
        # Names differ in case only for some brokers; what the service itself says of the message goes first.
        if name.lower() not in named:
            named[name] = value
    for name, value in named.items():
        _require_one_line(name, value)
    return named


def meant_for(outgoing: Outgoing) -> str:
    """The subscriptions a message is for, joined by commas; empty: everybody who listens."""
    return ",".join(outgoing.subscriptions or ())


def _require_one_line(name: str, value: str) -> None:
    if value.isascii() and value.isprintable():
        return
    if _BREAKING.search(value):
        raise CannotCarry(f"The value of its header {name!r} has more than one line.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CannotCarry(f"The value of its header {name!r} is not UTF-8.") from None
