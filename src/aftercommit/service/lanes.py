"""When to look at which lane next: told by wakes, made sure by sweeps."""

from typing import Final

from aftercommit.domain.message import DueKind
from aftercommit.ports.clock import Clock
from aftercommit.ports.store import Reader

SHORTEST_WAIT_SECONDS: Final = 0.001


class Lanes:
    """Remembers, per lane, when its next work is due.

    Only a hint: a wake may be lost with the process, so that the store is asked every `sweep_seconds` all the same.
    """

    def __init__(self, reader: Reader, kind: DueKind, *, clock: Clock, sweep_seconds: float) -> None:
        self._reader = reader
        self._kind = kind
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._swept_at: float | None = None
        self._next: dict[int, int] = {}

    def expect(self, lane: int, at: int) -> None:
        """Work of `lane` is due at that time, if not before."""
        known = self._next.get(lane)
        if known is None or at < known:
            self._next[lane] = at

    async def sweep_if_due(self) -> None:
        """Ask the store which lanes wait, unless it was asked a moment ago."""
        if self._swept_at is not None and self._clock.monotonic() < self._swept_at + self._sweep_seconds:
            return
        for lane in await self._reader.due_lanes(self._kind):
            self.expect(lane.lane, lane.at)
        self._swept_at = self._clock.monotonic()

    def sweep_soon(self) -> None:
        """Forget when the store was last asked."""
        self._swept_at = None

    def take_due(self) -> list[int]:
        """The lanes that are due now, longest waiting first; they are forgotten until they are expected again."""
        now = self._clock.now()
        due = sorted((at, lane) for lane, at in self._next.items() if at <= now)
        for _, lane in due:
            del self._next[lane]
        return [lane for _, lane in due]

    def seconds_until_next(self) -> float:
        """How long nothing is expected: until the next lane or the next sweep."""
        waits = [self._sweep_seconds]
        if self._swept_at is not None:
            waits.append(self._swept_at + self._sweep_seconds - self._clock.monotonic())
        if self._next:
            waits.append((min(self._next.values()) - self._clock.now()) / 1000)
        return max(SHORTEST_WAIT_SECONDS, min(waits))
