"""The table of the workloads: each with what it costs, beside the floor the same SQL has without the service."""

from collections.abc import Callable
from time import process_time
from typing import Final

import msgspec
import uvloop

from benchmarks.http import Run
from benchmarks.meters import spread
from benchmarks.node import Node
from benchmarks.places import Place
from benchmarks.workloads import BATCH, cycles_batched, cycles_single, idle_prepares, prepares, register

# How many calls are in flight in the workloads of single calls, which is what a transaction gathers at most.
GATHERED: Final = 48
STATEMENTS: Final = "store_statements_total"


class Row(msgspec.Struct, kw_only=True):
    """A line of the table. `target` and `floor` in the unit of `value`; costs are per message, processor time in us.

    None: not counted here. `batches`: how many commands went into how many of the node's transactions.
    """

    name: str
    unit: str
    value: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    database_cpu_us: float | None = None
    load_cpu_us: float | None = None
    log_bytes: float | None = None
    flushes: float | None = None
    commits: float | None = None
    statements: float | None = None
    batches: str | None = None
    floor: float | None = None
    target: str | None = None


WORKLOADS: Final = ("idle", "idle-floor", "prepare", "single", "batch")


def measure(place: Place, seconds: float, only: str | None) -> list[Row]:
    """Every workload on a fresh node, one after the other, each floor right after its workload."""
    if only is not None and only not in WORKLOADS:
        raise SystemExit(f"There is no benchmark {only!r}; there are {', '.join(WORKLOADS)}.")
    return [_measured(place, name, seconds) for name in WORKLOADS if only in (None, name)]


def _measured(place: Place, workload: str, seconds: float) -> Row:
    count = int(50 * seconds)
    match workload:
        case "idle":
            row = _on_node(place, "idle prepare", lambda node: uvloop.run(idle_prepares(node.port, count, 50)))
            row.target = "p99 < 5 ms"
        case "idle-floor":
            row = _row("  the floor of it: one commit at that rate", place.floor_idle(count, 50))
        case "prepare":
            name = "prepare, single call, 64 connections"
            row = _on_node(place, name, lambda node: uvloop.run(prepares(node.port, 64, seconds)))
            row.floor, row.target = place.floor_prepares(GATHERED), "6,000"
        case "single":
            name = "life cycle, single calls"
            row = _on_node(place, name, lambda node: uvloop.run(cycles_single(node.port, 48, 16, seconds)))
            row.floor = place.floor_cycles(GATHERED)
        case _:
            name = "life cycle, batches of 100"
            row = _on_node(place, name, lambda node: uvloop.run(cycles_batched(node.port, 6, 4, seconds)))
            row.floor, row.target = place.floor_cycles(BATCH), "8,000"
    return row


def _on_node(place: Place, name: str, work: Callable[[Node], Run]) -> Row:
    with place.node() as node:
        uvloop.run(register(node.port))
        before, metrics, counts = _cpu(place, node), node.metrics(), place.counts()
        run = work(node)
        used = [later - earlier for earlier, later in zip(before, _cpu(place, node), strict=True)]
        later = node.metrics()
        # Sessions hand in their counts when they end, and a database takes its counts with it when it is dropped.
        node.stop()
        counted = place.counts() - counts

    def each(amount: float | None) -> float | None:
        return None if amount is None else amount / max(run.done, 1)

    row = _row(name, run)
    row.cpu_us, row.database_cpu_us, row.load_cpu_us = (each(seconds * 1e6) for seconds in used)
    if not row.database_cpu_us:
        row.database_cpu_us = None
    row.log_bytes, row.flushes, row.commits = each(counted.log_bytes), each(counted.flushes), each(counted.commits)
    said, said_before = later.total(STATEMENTS), metrics.total(STATEMENTS)
    row.statements = each(said - said_before if said is not None and said_before is not None else counted.statements)
    row.batches = spread(metrics, later, "batch_size")
    return row


def _cpu(place: Place, node: Node) -> tuple[float, float, float]:
    """Seconds of the node, the database and this process, which makes the load."""
    return node.cpu_seconds(), place.database_cpu_seconds(), process_time()


def _row(name: str, run: Run) -> Row:
    return Row(
        name=name,
        unit="messages/s",
        value=run.per_second,
        p50_ms=run.percentile_ms(0.5),
        p99_ms=run.percentile_ms(0.99),
    )


def table(title: str, rows: list[Row]) -> str:
    """The rows as text."""
    line = "{:<42} {:>8} {:>8} {:>9} {:>6} {:>6} {:>6} {:>9} {:>8} {:>8} {:>8} {:>8} {:>6}  {}"
    head = line.format(
        f"{title}, 512-byte payload",
        *("msg/s", "p50 ms", "p99 ms", "node", "db", "load", "log bytes", "flushes", "commits", "stmts"),
        *("floor/s", "ratio", "target"),
    )
    lines = [head]
    for row in rows:
        lines.append(
            line.format(
                row.name,
                _shown(row.value, ",.0f"),
                _shown(row.p50_ms, ".2f"),
                _shown(row.p99_ms, ".2f"),
                _shown(row.cpu_us, ".0f"),
                _shown(row.database_cpu_us, ".0f"),
                _shown(row.load_cpu_us, ".0f"),
                _shown(row.log_bytes, ",.0f"),
                _shown(row.flushes, ".3f"),
                _shown(row.commits, ".3f"),
                _shown(row.statements, ".2f"),
                _shown(row.floor, ",.0f"),
                _shown(row.value / row.floor if row.floor else None, ".2f"),
                row.target or "",
            ).rstrip()
        )
    lines += ["", "Commands in one transaction of the node (bound: transactions):"]
    lines += [f"  {row.name}: {row.batches}" for row in rows if row.batches]
    lines += [
        "",
        "Latency: one step of the workload. node, db, load: microseconds of processor per message, of the node, the",
        "database server and the load generator, all on this machine. log bytes to stmts: the database's, per message,",
        "where commits count those that only read, too.",
    ]
    return "\n".join(lines)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
