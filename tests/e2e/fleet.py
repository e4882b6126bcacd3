"""Several nodes on one database, clients that go to the next one when one fails, and what befalls the nodes."""

import asyncio
import itertools
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from aftercommit.stores.sql.migrate import run_migrations
from tests.e2e.caller import TIMEOUT_SECONDS, Answer, Caller
from tests.e2e.history import Outcome, find_faults
from tests.e2e.load import Load
from tests.e2e.node import Node

# How long a client waits for one node before it asks another; longer than a pull waits for messages.
PATIENCE_SECONDS = 3.0
SETTLE_SECONDS = 45.0
# A run in which less than this happened proves nothing.
REAL_LOAD = 15
VERBS = ("prepare", "confirm", "cancel", "deliver", "complete", "check", "read")
# How many faults a campaign has, instead of the few that the usual run of the tests has time for.
FAULTS_VARIABLE = "CAMPAIGN_FAULTS"

_log = logging.getLogger(__name__)


def faults_wanted(usually: int) -> int:
    """How many faults the campaign shall have."""
    return int(os.environ.get(FAULTS_VARIABLE, usually))


class Roamer(Caller):
    """A client that knows all nodes: after an error or a 503 the next call, which repeats it, goes to the next node.

    `complaints` takes what no client should ever hear: a 503 that does not say when to come again.
    """

    def __init__(
        self, ports: Sequence[int], first: int, app: str | None, complaints: list[str], *, timeout_seconds: float
    ) -> None:
        super().__init__(ports[first % len(ports)], app, timeout_seconds=timeout_seconds)
        self._ports = list(ports)
        self._timeout_seconds = timeout_seconds
        self._complaints = complaints

    def call(self, *arguments: object, **named: object) -> Answer:
        """Make a call to the node of the moment."""
        try:
            answer = super().call(*arguments, **named)  # type: ignore[arg-type]  # handed on as they are
        except (OSError, HTTPException):
            self._move()
            raise
        if answer.status == 503:
            if "retry-after" not in answer.headers:
                self._complaints.append(f"A 503 without Retry-After: {answer.body[:300]!r}")
            self._move()
        return answer

    def _move(self) -> None:
        self.close()
        self.port = self._ports[(self._ports.index(self.port) + 1) % len(self._ports)]
        self._connection = HTTPConnection("127.0.0.1", self.port, timeout=self._timeout_seconds)


class Fleet:
    """Nodes on the database of this URL, whose tables it makes; use it as a context manager, from the main thread.

    `options` go to every node's command.
    """

    def __init__(self, folder: Path, database_url: str, *, nodes: int, options: Sequence[str] = ()) -> None:
        self.complaints: list[str] = []
        self.nodes: list[Node] = []
        self._database_url = database_url
        self._turn = itertools.count()
        for number in range(nodes):
            home = folder / f"node{number}"
            home.mkdir()
            self.nodes.append(Node(home, options=("--database", database_url, *options)))

    def __enter__(self) -> Self:
        asyncio.run(run_migrations(self._database_url))
        try:
            for each in self.nodes:
                each.start(wait=False)
            self.await_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def await_ready(self) -> None:
        """Return when every node can do its work."""
        for each in self.nodes:
            each.await_ready()

    def caller(self, app: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Roamer:
        """A client of all nodes; each begins with another one."""
        patience = min(timeout_seconds, PATIENCE_SECONDS)
        ports = [each.port for each in self.nodes]
        return Roamer(ports, next(self._turn), app, self.complaints, timeout_seconds=patience)

    def bugs(self) -> list[str]:
        """What the nodes themselves said about bugs of theirs."""
        found = []
        for each in self.nodes:
            said = each.log.read_text(errors="replace")
            if "Traceback" in said:
                found.append(f"{each.log.parent.name}: {said[said.index('Traceback') :][:3000]}")
        return found

    def last_words(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {each.log.parent.name}\n{each.log_tail()}" for each in self.nodes)

    def _kill(self) -> None:
        for each in self.nodes:
            each.kill9()


@dataclass
class Torment:
    """Kills nodes, and freezes them for longer than any time-out, so that one at least is always well.

    While one node is frozen for long, the others go on being killed; it is awake for a moment before the next is.
    """

    fleet: Fleet
    chance: random.Random
    freeze_seconds: float
    done: Counter[str] = field(default_factory=Counter)

    def run(self, faults: int) -> None:
        """Do that many things to them, then let all come back."""
        frozen: tuple[Node, float] | None = None
        victims = itertools.cycle(self.fleet.nodes)
        for number in range(faults):
            node = next(victims)
            if frozen is not None and time.monotonic() > frozen[1]:
                frozen[0].signal(signal.SIGCONT)
                frozen = None
            if frozen is not None and node is frozen[0]:
                node = next(victims)
            time.sleep(self.chance.uniform(0.3, 1.2))
            if frozen is None and number % 4 != 1:
                # Killed below it was started again; frozen in the middle of its start nothing would be proved.
                node.await_ready()
                time.sleep(self.chance.uniform(0.1, 0.4))
                node.signal(signal.SIGSTOP)
                frozen = node, time.monotonic() + self.freeze_seconds
                self.done["frozen"] += 1
                continue
            node.kill9()
            node.start(wait=False)
            self.done["killed"] += 1
        if frozen is not None:
            time.sleep(max(0.0, frozen[1] - time.monotonic()))
            frozen[0].signal(signal.SIGCONT)
        self.fleet.await_ready()
        _log.info("Done to the nodes: %s", dict(self.done))


def missing_load(load: Load) -> dict[str, int]:
    """What was done too seldom yet for the run to prove anything: how often, by verb."""
    done = Counter(each.verb for each in list(load.entries) if each.outcome is Outcome.OK)
    return {verb: done[verb] for verb in VERBS if done[verb] < REAL_LOAD}


def require_kept_promises(load: Load, fleet: Fleet) -> None:
    """Nothing that was promised may be broken; no answer may be one that no client should hear."""
    # Whoever could not reach the database, or not hear its answer to a COMMIT, says 503: it may have been done.
    entries = [replace(each, outcome=Outcome.UNKNOWN) if each.said == "503" else each for each in load.entries]
    faults = find_faults(entries, load.finals())
    heard = Counter((each.verb, each.outcome.value) for each in entries)
    assert not load.problems, f"{load.problems[:10]}\n{fleet.last_words()}"
    assert not fleet.complaints, fleet.complaints[:10]
    assert not fleet.bugs(), fleet.bugs()
    assert not faults, f"{len(faults)} faults, the first of them: {faults[:10]}\n{heard}\n{fleet.last_words()}"
    assert not missing_load(load), heard
    _log.info("Heard: %s", dict(sorted(heard.items())))
