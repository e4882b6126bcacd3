"""Ids and texts as the protocol writes them."""

import re

from aftercommit.domain.policies import ID_AGE_MAX_MS, ID_AHEAD_MAX_MS

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TEXT_MAX = 1000
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7_time(message_id: str) -> int | None:
    """The milliseconds in a canonical lower-case UUIDv7; None for anything else."""
    if not _UUID7.fullmatch(message_id):
        return None
    return int(message_id[:8] + message_id[9:13], 16)


def in_range(made_at: int, now: int) -> bool:
    """Whether an id made at that time may be used now: not too old to be remembered, not from the future."""
    return now - ID_AGE_MAX_MS <= made_at <= now + ID_AHEAD_MAX_MS


def plain_text(text: str) -> str:
    """Somebody's words as they may be stored and shown: bounded, without control characters."""
    return _CONTROL.sub("\ufffd", text[:_TEXT_MAX])
