"""How often the built-in broker is asked, and how long is waited for what."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from aftercommit.sdk.consumer.handlers import Registered
from aftercommit.sdk.errors import AfterCommitClientError, Unavailable

GRACE_SECONDS: Final = 30.0
PULL_MAX: Final = 100
# The service holds an empty pull for this long. A pull is never given up half-way, because what it claimed would then
# wait for its redelivery time; so this is also what a stop may have to wait for.
POLL_SECONDS: Final = 2.0
PAUSE_FIRST_SECONDS: Final = 0.2
PAUSE_MAX_SECONDS: Final = 10.0

_log: Final = logging.getLogger("aftercommit.consumer")


class Pace:
    """How long to pause between pulls: not at all when messages come, longer and longer while errors do."""

    def __init__(self, handler: Registered[Any], chance: Callable[[], float]) -> None:
        self._handler = handler
        self._chance = chance
        self._errors = 0

    def after_pull(self, count: int, took_seconds: float) -> float:
        """The pause after a pull that went well. An empty one that was answered at once must not become a storm."""
        if self._errors:
            _log.info("Pulling %s for %s again.", self._handler.topic, self._handler.subscription)
        self._errors = 0
        return 0.0 if count or took_seconds >= POLL_SECONDS / 2 else PAUSE_FIRST_SECONDS * (0.5 + self._chance())

    def after_error(self, error: Exception) -> float:
        """The pause after one that failed, which is logged: doubling, from half to all of it by chance."""
        trace = None if isinstance(error, AfterCommitClientError) else error
        _log.warning(
            "Could not pull %s for %s: %s", self._handler.topic, self._handler.subscription, error, exc_info=trace
        )
        longest = min(PAUSE_FIRST_SECONDS * 2.0**self._errors, PAUSE_MAX_SECONDS)
        self._errors = min(self._errors + 1, 30)
        pause = longest * (0.5 + 0.5 * self._chance())
        asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
        return pause if asked is None else max(pause, asked * (1 + 0.2 * self._chance()))


def require_some(handlers: Sequence[Registered[Any]]) -> None:
    """Raises ValueError for a consumer that would wait for ever for nothing."""
    if not handlers:
        raise ValueError("This consumer has no handlers: decorate one with `@consumer.on(topic, subscription)`.")
