"""A breaker per destination: who cannot be reached is left alone for a while, at no cost to its messages."""

from typing import Final

from aftercommit.ports.clock import Clock

FAILURES_MAX: Final = 5
WAIT_FIRST_SECONDS: Final = 0.5
WAIT_MAX_SECONDS: Final = 15.0


class Breaker:
    """Opens after five failures in a row; then one try per wait, which doubles up to 15 s, until one succeeds."""

    def __init__(self, *, clock: Clock, failures_max: int = FAILURES_MAX) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._failures: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}

    def closed(self, destination: int) -> bool:
        """Whether the destination may be tried now."""
        return self._clock.monotonic() >= self._retry_at.get(destination, 0.0)

    def wait_seconds(self, destination: int) -> float:
        """How long until it may be tried."""
        return max(0.0, self._retry_at.get(destination, 0.0) - self._clock.monotonic())

    def failed(self, destination: int) -> None:
        """It could not be reached."""
        failures = self._failures.get(destination, 0) + 1
        self._failures[destination] = failures
        if failures >= self._failures_max:
            wait = min(WAIT_MAX_SECONDS, WAIT_FIRST_SECONDS * 2 ** min(failures - self._failures_max, 16))
            self._retry_at[destination] = self._clock.monotonic() + wait

    def succeeded(self, destination: int) -> None:
        """It was reached."""
        self._failures.pop(destination, None)
        self._retry_at.pop(destination, None)
