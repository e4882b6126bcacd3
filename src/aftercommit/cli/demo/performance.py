"""One performance of the demo: orders flow, processes are killed, everything drains, the books are compared."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from aftercommit.cli.demo.books import Figures, read_books, read_figures
from aftercommit.cli.demo.chance import Kill
from aftercommit.cli.demo.reconciliation import Books, Finding, reconcile
from aftercommit.cli.demo.stage import Stage

TICK_SECONDS: Final = 0.05
# Starting takes about half of this; who is killed while starting has nothing half done.
AGE_TO_BE_KILLED_SECONDS: Final = 1.0
# Generous: it is there to end a run that hangs, not to judge one on a slow machine.
DEADLINE_SECONDS: Final = 90.0
DEADLINE_SECONDS_PER_ORDER: Final = 0.1


class Audience(Protocol):
    """Who watches a performance."""

    def look(self, figures: Figures, kills: dict[str, int]) -> None:
        """The figures now, many times a second."""

    def hear(self, event: str) -> None:
        """Something worth a line happened."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended. `overdue`: the deadline came before everything was settled."""

    figures: Figures
    kills: dict[str, int]
    books: Books
    findings: list[Finding]
    overdue: bool
    seconds: float

    @property
    def matches(self) -> bool:
        """Whether everything ended in time and every book agrees with every other."""
        return not self.overdue and not any(finding.offenders for finding in self.findings)


class Performance:
    """Drives a stage from the first order to the verdict."""

    def __init__(self, stage: Stage, kills: Iterable[Kill], audience: Audience) -> None:
        self._stage = stage
        self._kills = deque(kills)
        self._audience = audience
        self._figures = Figures()
        self._began_at = time.monotonic()

    def run(self) -> Outcome:
        """Raises `DemoFailed` if a process ended by itself, or the node never answers."""
        self._audience.hear("starting a node, an order service and a stock service")
        self._stage.start()
        self._audience.hear("all three are up; orders flow")
        overdue = not (self._flow() and self._drain())
        messages = self._stage.messages()
        self._stage.stop()
        self._figures = read_figures(self._stage.scene, self._figures)
        self._audience.look(self._figures, self._kill_counts())
        books = read_books(self._stage.scene, messages)
        return Outcome(
            figures=self._figures,
            kills=self._kill_counts(),
            books=books,
            findings=reconcile(books),
            overdue=overdue,
            seconds=round(time.monotonic() - self._began_at, 3),
        )

    def _flow(self) -> bool:
        """Until every order has a known end and every kill was done. False if the deadline came first."""
        while self._figures.placed < self._stage.scene.orders or self._kills:
            if not self._tick():
                return False
            while self._kills and self._is_due(self._kills[0]):
                self._kill(self._kills.popleft())
        return True

    def _drain(self) -> bool:
        """Until no message moves any more. False if the deadline came first."""
        self._audience.hear("every order has its end; waiting until no message moves any more")
        while self._stage.live_messages() != 0:
            if not self._tick():
                return False
        return True

    def _tick(self) -> bool:
        """A moment passes. False once the deadline is there."""
        time.sleep(TICK_SECONDS)
        self._stage.require_running()
        self._figures = read_figures(self._stage.scene, self._figures)
        self._audience.look(self._figures, self._kill_counts())
        limit = DEADLINE_SECONDS + self._stage.scene.orders * DEADLINE_SECONDS_PER_ORDER
        return time.monotonic() - self._began_at < limit

    def _is_due(self, kill: Kill) -> bool:
        """Whether enough orders ended, and the victim had the time to get into its work since it was last killed."""
        old_enough = self._stage.processes[kill.victim].age_seconds >= AGE_TO_BE_KILLED_SECONDS
        return kill.after_orders <= self._figures.placed and old_enough

    def _kill(self, kill: Kill) -> None:
        # Not at the moment an order ended, which would always be the same moment of the next one.
        time.sleep(kill.delay_seconds)
        self._stage.require_running()
        process = self._stage.processes[kill.victim]
        process_id = process.kill()
        process.start()
        self._audience.hear(f"kill -9 {process_id} ({kill.victim}), restarted")

    def _kill_counts(self) -> dict[str, int]:
        return {name: process.kills for name, process in self._stage.processes.items()}
