"""What requests and answers have in common, and how times are written."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

BATCH_ITEMS_MAX: Final = 1000
PULL_MAX: Final = 100
CHECKS_PER_CALL_MAX: Final = 100
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a caller sends. Unknown fields are refused."""


class EmptyRequest(Request, frozen=True):
    """A call with nothing to say but its address: no body, or `{}`."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the service answers; what is at its default is left out. The SDK ignores fields it does not know."""


@lru_cache(maxsize=256)
def _whole_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.")


def rfc3339(at: int) -> str:
    """Milliseconds since 1970 as RFC 3339 UTC with milliseconds."""
    return f"{_whole_second(at // 1000)}{at % 1000:03d}Z"


def parse_time(text: str) -> int | None:
    """RFC 3339 with a time zone, as milliseconds since 1970; None for anything else."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        parsed = datetime.fromisoformat(text.upper())
        return round((parsed - _EPOCH) / timedelta(milliseconds=1))
    except (ValueError, OverflowError):
        return None
