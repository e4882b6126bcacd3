"""What a run costs beside time: processor time of whole families of processes, and what a database counts."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

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
    """What a database server has counted since it was started; the difference of two is what happened between.

    They are the whole server's: whoever measures must be alone there. `commits` counts transactions that only read,
    too. None: this server does not count that.
    """

    log_bytes: int | None = None
    flushes: int | None = None
    commits: int | None = None
    statements: int | None = None

    def __sub__(self, other: "Counts") -> "Counts":
        differences = {
            name: None if mine is None or theirs is None else mine - theirs
            for name in self.__struct_fields__
            for mine, theirs in ((getattr(self, name), getattr(other, name)),)
        }
        return Counts(**differences)


def postgres_counts(url: str) -> Counts:
    """Sessions hand theirs in when they rest or end: read when the node has been stopped. From version 14 on."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        # Version 18 counts the flushes elsewhere.
        flushes = "(SELECT wal_sync FROM pg_stat_wal)" if connection.info.server_version < 180_000 else "NULL"
        found = connection.execute(
            f"SELECT (pg_current_wal_lsn() - '0/0')::bigint, {flushes}, sum(xact_commit)::bigint FROM pg_stat_database"
        ).fetchone()
        assert found is not None
        return Counts(log_bytes=found[0], flushes=found[1], commits=found[2])


def mysql_counts(host: str, port: int, user: str, password: str) -> Counts:
    """The redo log's bytes and flushes; statements include those that begin and end transactions."""
    import pymysql

    with (
        pymysql.connect(host=host, port=port, user=user, password=password) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW GLOBAL STATUS")
        status: dict[str, Any] = dict(cursor.fetchall())
    return Counts(
        log_bytes=int(status["Innodb_os_log_written"]),
        flushes=int(status["Innodb_os_log_fsyncs"]) if "Innodb_os_log_fsyncs" in status else None,
        commits=int(status["Com_commit"]),
        statements=int(status["Questions"]),
    )


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
