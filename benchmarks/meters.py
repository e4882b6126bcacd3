"""What a run costs beside time: processor time of whole families of processes, and what PostgreSQL counts."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import psutil  # type: ignore[import-untyped]  # it has no stubs of its own

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SAMPLE: Final = re.compile(r"^(aftercommit_\w+)(?:\{([^}]*)\})? ([-+.\dEeInf]+)$", re.MULTILINE)
_BOUND: Final = re.compile(r'le="([^"]+)"')


def cpu_seconds(pid: int) -> float:
    """Processor time, user and system, that a process and its descendants have used, also those that have ended."""
    family = [pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))]
    return sum(map(_used_ticks, family)) / _TICKS


def _used_ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        # It ended after it was listed, and its parent has its time.
        return 0
    fields = text.rpartition(")")[2].split()
    # Own time, then that of the children that were waited for.
    return sum(map(int, fields[11:15]))


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a database has counted since it was made; the difference of two is what happened between.

    `wal_bytes` and `commits` are the whole server's and the whole database's: whoever measures must be alone there.
    """

    wal_bytes: int = 0
    commits: int = 0
    statements: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            wal_bytes=self.wal_bytes - other.wal_bytes,
            commits=self.commits - other.commits,
            statements=self.statements - other.statements,
        )


class PostgresMeter:
    """Reads the counters over a connection of its own, whose own transactions are taken off again."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._connection: Any = psycopg.connect(url, autocommit=True)
        self._own = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self) -> Counts:
        """The counters as they stand. Sessions hand in theirs up to a second late: rest before reading exactly."""
        row = self._connection.execute(
            "SELECT pg_current_wal_lsn() - '0/0', xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        counts = Counts(wal_bytes=int(row[0]), commits=int(row[1]) - self._own)
        self._own += 1
        return counts


class Exposition(msgspec.Struct, frozen=True):
    """A node's `/metrics` at one moment: sums over labels, and the buckets of one histogram."""

    text: str

    def total(self, name: str) -> float | None:
        """The sum of a metric over all labels; None where the node has no such metric."""
        found = [float(value) for metric, _, value in _SAMPLE.findall(self.text) if metric == f"aftercommit_{name}"]
        return sum(found) if found else None

    def buckets(self, name: str) -> Mapping[str, float]:
        """How many observations fell in each bucket of a histogram, by its upper bound."""
        counted: dict[str, float] = {}
        before = 0.0
        for metric, labels, value in _SAMPLE.findall(self.text):
            if metric == f"aftercommit_{name}_bucket" and (bound := _BOUND.search(labels)):
                counted[bound.group(1)] = float(value) - before
                before = float(value)
        return counted


def spread(before: Exposition, after: Exposition, name: str) -> str:
    """What a histogram without labels took in between: `<=8: 12, <=16: 40, mean 11.2`."""
    earlier, later = before.buckets(name), after.buckets(name)
    counted = {bound: count - earlier.get(bound, 0.0) for bound, count in later.items()}
    parts = [f"<={bound.removesuffix('.0')}: {count:.0f}" for bound, count in counted.items() if count]
    number = sum(counted.values())
    total = (after.total(f"{name}_sum") or 0.0) - (before.total(f"{name}_sum") or 0.0)
    return ", ".join([*parts, f"mean {total / number:.1f}"]) if number else "nothing"
