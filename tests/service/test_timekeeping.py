"""The node's clock follows the database's, however long the answer takes, and goes on where none comes."""

import pytest

from aftercommit.domain.errors import StoreUnavailable
from aftercommit.service.timekeeping import INTERVAL_SECONDS, Timekeeper
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver


class Watch:
    """A timekeeper, its database, and what it sets the clock to."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.told_ms = 1_000_000
        self.takes_seconds = 0.0
        self.error: Exception | None = None
        self.set_to: list[int] = []
        self.is_jump = False
        self.keeper = Timekeeper(
            database_ms=self._database_ms,
            refresh=self._refresh,
            jumped=lambda: self.is_jump,
            clock=self.clock,
            observer=self.observer,
        )

    async def _database_ms(self) -> int:
        self.clock.advance(self.takes_seconds)
        if self.error is not None:
            raise self.error
        return self.told_ms

    def _refresh(self, database_ms: int) -> int:
        self.set_to.append(database_ms)
        return 90_000


@pytest.mark.parametrize(("takes_seconds", "later_ms"), [(0.0, 0), (0.02, 10), (1.0, 500)])
async def test_half_of_the_round_trip_has_passed_since_the_database_looked(takes_seconds: float, later_ms: int) -> None:
    watch = Watch()
    watch.takes_seconds = takes_seconds
    assert await watch.keeper.run_once() == INTERVAL_SECONDS
    assert watch.set_to == [1_000_000 + later_ms]


async def test_a_database_that_does_not_answer_is_told_once_and_asked_again_at_the_usual_time() -> None:
    watch = Watch()
    watch.error = StoreUnavailable("The database is gone.")
    assert [await watch.keeper.run_once() for _ in range(3)] == [INTERVAL_SECONDS] * 3
    assert (watch.observer.alerted(), watch.set_to) == (["clock_unread"], [])

    watch.error = None
    await watch.keeper.run_once()
    watch.error = StoreUnavailable("The database is gone again.")
    await watch.keeper.run_once()

    assert (watch.observer.alerted(), watch.set_to) == (["clock_unread", "clock_unread"], [1_000_000])


async def test_a_jump_is_told() -> None:
    watch = Watch()
    watch.is_jump = True
    await watch.keeper.run_once()
    name, detail, _ = watch.observer.alerts[0]
    assert name == "clock_jumped"
    assert "+90 s" in detail
