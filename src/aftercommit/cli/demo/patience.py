"""Repeating a call until the node answers it, whatever happens to the node meanwhile."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from aftercommit.sdk import Unavailable, Unreachable

T = TypeVar("T")

CALL_TIMEOUT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.1


def insist(call: Callable[[], T]) -> T:
    """Make a repeatable call again and again until there is an answer; a refusal is one, and is raised.

    It has no end of its own: the demo's deadline ends the process.
    """
    while True:
        try:
            return call()
        except (Unavailable, Unreachable):
            time.sleep(_PAUSE_SECONDS)
