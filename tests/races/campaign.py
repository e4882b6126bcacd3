"""A campaign of races on one database: initiators and checkers as processes, killed at random, then judged."""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from tests.races.evidence import figures, gathered, races
from tests.races.journal import Journal, read_journals
from tests.races.judge import Contradiction, Evidence, find_contradictions
from tests.races.nursery import Nursery
from tests.races.places import read_tables, through_proxy
from tests.races.process import CHECKER, INITIATOR, Role
from tests.races.settler import Settler
from tests.races.shops import DRIVERS, Place

STOP_SECONDS: Final = 15.0
HEAL_SECONDS: Final = 40.0
# Of so many strikes one is at the service, where that can be killed.
_STRIKES_PER_SERVICE: Final = 6
_DATABASE_SHARE: Final = 0.2
_LOOK_AGAIN_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is run. `barrier`: "on", or the name of a weaker one (see `weaker`)."""

    kind: str
    races: int
    seed: int
    barrier: str = "on"
    service: str = "ledger"
    initiators: int = 4
    workers: int = 14
    checker_workers: int = 6
    pace: float = 1.0
    seconds_max: float = 240.0
    kill_every_seconds: float = 0.6


def usual_terms(kind: str, races: int, seed: int, barrier: str = "on") -> Terms:
    """Terms that keep two cores busy. In a SQLite file one transaction writes at a time, so few are quick."""
    if kind == "sqlite":
        return Terms(kind=kind, races=races, seed=seed, barrier=barrier, workers=3, checker_workers=3, pace=0.2)
    if kind == "mariadb":
        # A check that meets a lock waits there for a second at least.
        return Terms(kind=kind, races=races, seed=seed, barrier=barrier, workers=10, checker_workers=12)
    return Terms(kind=kind, races=races, seed=seed, barrier=barrier)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `problems`: what happened that nobody may count as a race, such as an error of our own."""

    terms: Terms
    figures: dict[str, int]
    seconds: float
    contradictions: list[Contradiction]
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{name} {number}" for name, number in self.figures.items())
        terms = self.terms
        return (
            f"{terms.kind}, barrier {terms.barrier}, {terms.service}, seed {terms.seed}: {counted}, "
            f"contradictions {len(self.contradictions)}, {self.seconds:.0f} s"
        )


class Campaign:
    """Run it once. `folder` takes the journals and what the processes say; `settler` was given its journal there."""

    def __init__(
        self,
        terms: Terms,
        place: Place,
        folder: Path,
        settler: Settler,
        *,
        restart_database: Callable[[], None] | None = None,
    ) -> None:
        """`restart_database`: kills the database's server and starts it again; None leaves it alone."""
        self._terms = terms
        self._place = place
        self._folder = folder
        self._settler = settler
        self._restart_database = restart_database
        self._chance = Random(f"{terms.seed}/{terms.kind}")
        self._numbers = count(1)
        self._strikes = count(0)
        self._journal = Journal(folder, "campaign")
        self._kills: dict[str, int] = {
            "initiators killed": 0,
            "checkers killed": 0,
            "service killed": 0,
            "database killed": 0,
            "paused": 0,
        }
        # pid -> its role; what was killed is replaced.
        self._running: dict[int, Role] = {}

    def run(self) -> Report:
        """Race, heal, judge."""
        began = time.monotonic()
        with ExitStack() as stack:
            nursery = stack.enter_context(Nursery(self._folder / "processes.log"))
            proxy = stack.enter_context(through_proxy(self._place, Random(f"{self._terms.seed}/proxy")))
            self._race(nursery, proxy.place)
            self._heal(nursery)
            fates = proxy.fates()
        evidence = self._evidence()
        return Report(
            self._terms,
            figures(evidence) | self._kills | fates,
            time.monotonic() - began,
            find_contradictions(evidence),
            self._problems(),
        )

    def _race(self, nursery: Nursery, proxied: Place) -> None:
        for number in range(self._terms.initiators):
            self._start(nursery, INITIATOR, number, proxied)
        for number in range(2):
            self._start(nursery, CHECKER, number, proxied)
        until = time.monotonic() + self._terms.seconds_max
        strike_at = time.monotonic() + self._next_strike()
        goal = self._terms.races
        while time.monotonic() < until:
            time.sleep(_LOOK_AGAIN_SECONDS)
            if self._settler.raced >= goal:
                # That counts messages checked while pending; of some the transaction was over by then.
                missing = self._terms.races - races(self._evidence())
                if missing <= 0:
                    return
                goal = self._settler.raced + missing
            if time.monotonic() >= strike_at:
                self._strike(nursery, proxied)
                strike_at = time.monotonic() + self._next_strike()

    def _evidence(self) -> Evidence:
        return gathered(
            read_journals(self._folder), read_tables(self._place, self._terms.barrier), self._settler.statuses()
        )

    def _next_strike(self) -> float:
        return self._chance.uniform(0.2, 1.8) * self._terms.kill_every_seconds

    def _strike(self, nursery: Nursery, proxied: Place) -> None:
        if next(self._strikes) % _STRIKES_PER_SERVICE == 1 and self._settler.strike():
            self._kills["service killed"] += 1
            return
        if self._restart_database is not None and self._chance.random() < _DATABASE_SHARE:
            self._restart_database()
            self._kills["database killed"] += 1
            return
        pid = self._chance.choice(list(self._running))
        role = self._running[pid]
        if self._chance.random() < 0.25:
            # As a collector of garbage or a busy machine does: held in the middle of anything.
            nursery.signal(pid, signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.05, 0.5))
            nursery.signal(pid, signal.SIGCONT)
            self._kills["paused"] += 1
            return
        nursery.signal(pid, signal.SIGKILL)
        self._journal.write("killed", process=role.name)
        self._kills[f"{role.kind}s killed"] += 1
        nursery.wait(pid, STOP_SECONDS)
        del self._running[pid]
        self._start(nursery, role.kind, self._chance.randrange(8), proxied)

    def _start(self, nursery: Nursery, kind: str, turn: int, proxied: Place) -> None:
        drivers = DRIVERS[self._terms.kind]
        name = f"{kind}{next(self._numbers)}"
        # Initiators mostly go through the proxy; of the checkers a third.
        is_proxied = self._chance.random() < (0.7 if kind == INITIATOR else 0.35)
        role = Role(
            kind=kind,
            name=name,
            seed=f"{self._terms.seed}/{name}",
            driver=drivers[(turn * 3 + self._chance.randrange(2)) % len(drivers)],
            place=proxied if is_proxied else self._place,
            folder=str(self._folder),
            reached=self._settler.reached,
            workers=self._terms.workers if kind == INITIATOR else self._terms.checker_workers,
            pace=self._terms.pace,
            barrier=self._terms.barrier,
        )
        self._journal.write("started", process=name, driver=role.driver, proxied=is_proxied)
        self._running[nursery.start(role.encoded())] = role

    def _heal(self, nursery: Nursery) -> None:
        """No more faults: initiators finish what they began, and checks go on until everything is settled."""
        self._stop(nursery, INITIATOR)
        self._settler.calm()
        until = time.monotonic() + HEAL_SECONDS
        while self._settler.undecided and time.monotonic() < until:
            time.sleep(_LOOK_AGAIN_SECONDS)
        self._stop(nursery, CHECKER)

    def _stop(self, nursery: Nursery, kind: str) -> None:
        pids = [pid for pid, role in self._running.items() if role.kind == kind]
        for pid in pids:
            nursery.signal(pid, signal.SIGTERM)
        for pid in pids:
            role = self._running.pop(pid)
            if not nursery.wait(pid, STOP_SECONDS):
                self._journal.write("stuck", process=role.name)
                nursery.signal(pid, signal.SIGKILL)
                nursery.wait(pid, STOP_SECONDS)

    def _problems(self) -> list[str]:
        problems = []
        for each in read_journals(self._folder):
            if each["what"] == "stuck":
                problems.append(f"{each['process']} did not stop")
            if each["what"] == "ended" and each["said"] == "broken":
                problems.append(f"{each['run']} ended in {each['detail']}")
        said = (self._folder / "processes.log").read_text(errors="replace")
        # An error logged by the SDK is one that its user is to look into, such as a committed message rolled back.
        loud = [line for line in said.splitlines() if " aftercommit." in line]
        problems += loud[:5]
        if "Traceback" in said:
            problems.append(said[max(0, said.index("Traceback") - 500) :][:3500])
        return problems
