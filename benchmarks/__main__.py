"""`python -m benchmarks`: one table of what the service does, beside the floor the same SQL has without it."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from benchmarks.floor import floor_cycles, floor_idle, floor_prepares
from benchmarks.http import Run
from benchmarks.node import Node
from benchmarks.transactions import measure_costs, measure_throughput
from benchmarks.transactions import table as transactions_table
from benchmarks.workloads import cycles_batched, cycles_single, idle_prepares, prepares, register

GATHERED = 48
TRANSACTIONS = "transactions"


class Row(msgspec.Struct, kw_only=True):
    """A line of the table. `target` and `floor` in the unit of `value`; `cpu_us` is the node's, per message."""

    name: str
    unit: str
    value: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    floor: float | None = None
    target: str | None = None


def measure(seconds: float, directory: Path | None, only: str | None) -> list[Row]:
    """Every workload on a fresh node, one after the other, each floor right after its workload."""

    def on_node(run: Callable[[Node], Run]) -> tuple[Run, float]:
        with Node(directory) as node:
            uvloop.run(register(node.port))
            before = node.cpu_seconds()
            done = run(node)
            return done, (node.cpu_seconds() - before) * 1e6 / max(done.done, 1)

    def idle() -> Row:
        run, cpu = on_node(lambda node: uvloop.run(idle_prepares(node.port, int(50 * seconds), 50)))
        return _row("idle prepare", run, cpu, target="p99 < 5 ms")

    def idle_floor() -> Row:
        run = floor_idle(directory, int(50 * seconds), 50)
        return Row(
            name="  the floor of it: one commit at that rate",
            unit="messages/s",
            value=run.per_second,
            p50_ms=run.percentile_ms(0.5),
            p99_ms=run.percentile_ms(0.99),
        )

    def single_prepares() -> Row:
        run, cpu = on_node(lambda node: uvloop.run(prepares(node.port, 64, seconds)))
        return _row("prepare, single call, 64 connections", run, cpu, floor_prepares(GATHERED, directory), "6,000")

    def single_cycles() -> Row:
        run, cpu = on_node(lambda node: uvloop.run(cycles_single(node.port, 48, 16, seconds)))
        return _row("life cycle, single calls", run, cpu, floor_cycles(GATHERED, directory))

    def batched_cycles() -> Row:
        run, cpu = on_node(lambda node: uvloop.run(cycles_batched(node.port, 6, 4, seconds)))
        return _row("life cycle, batches of 100", run, cpu, floor_cycles(100, directory), "8,000")

    workloads = {
        "idle": idle,
        "idle-floor": idle_floor,
        "prepare": single_prepares,
        "single": single_cycles,
        "batch": batched_cycles,
    }
    if only is not None and only not in workloads:
        raise SystemExit(f"There is no benchmark {only!r}; there are {', '.join(workloads)}.")
    return [workload() for name, workload in workloads.items() if only in (None, name)]


def _row(name: str, run: Run, cpu_us: float, floor: float | None = None, target: str | None = None) -> Row:
    return Row(
        name=name,
        unit="messages/s",
        value=run.per_second,
        p50_ms=run.percentile_ms(0.5),
        p99_ms=run.percentile_ms(0.99),
        cpu_us=cpu_us,
        floor=floor,
        target=target,
    )


def _print(rows: list[Row]) -> None:
    line = "{:<42} {:>10} {:>9} {:>9} {:>8} {:>10} {:>6}  {}"
    print(line.format("SQLite, 512-byte payload", "msg/s", "p50 ms", "p99 ms", "CPU us", "floor/s", "ratio", "target"))
    for row in rows:
        print(
            line.format(
                row.name,
                f"{row.value:,.0f}",
                f"{row.p50_ms:.2f}" if row.p50_ms is not None else "",
                f"{row.p99_ms:.2f}" if row.p99_ms is not None else "",
                f"{row.cpu_us:.0f}" if row.cpu_us is not None else "",
                f"{row.floor:,.0f}" if row.floor else "",
                f"{row.value / row.floor:.2f}" if row.floor else "",
                row.target or "",
            )
        )
    print(
        "Latency: one step of the workload. CPU: the node's, per message. The load generator runs on the same machine."
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    parser.add_argument("--only", help="one workload: idle, idle-floor, prepare, single, batch or transactions")
    parser.add_argument("--directory", type=Path, help="where the databases lie (default: the temporary directory)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    seconds, directory, only = arguments.seconds, arguments.directory, arguments.only
    rows = [] if only == TRANSACTIONS else measure(seconds, directory, only)
    sdk = only in (None, TRANSACTIONS)
    costs = measure_costs(seconds * 2, directory) if sdk else []
    throughputs = measure_throughput(seconds, directory) if sdk else []
    if arguments.json:
        found = {"rows": rows, "costs": costs, "throughputs": throughputs}
        print(json.dumps(msgspec.to_builtins(found)))
        return 0
    if rows:
        _print(rows)
    if sdk:
        print(f"\n{transactions_table(costs, throughputs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
