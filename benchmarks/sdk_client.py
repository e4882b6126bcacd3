"""`python -m benchmarks.sdk_client`: what 64 callers of one client get done, with calls gathered into batches or not.

Each caller prepares a message of 512 bytes and confirms it, over and over, through one shared client, against a node
on SQLite in a process of its own. Every figure is the median of several rounds, in which the ways take turns. CPU: user
and system time of the client's process, and of the node, per message.
"""

import argparse
import asyncio
import json
import statistics
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import msgspec
import uvloop

from aftercommit.sdk import AsyncClient, Client
from benchmarks.http import Run
from benchmarks.node import Node
from benchmarks.workloads import SUBSCRIPTION, TOPIC

NOTE = "x" * 480


class Way(msgspec.Struct, frozen=True):
    """How the client is used: by `callers` threads, or by as many tasks."""

    name: str
    threads: bool
    callers: int
    batching: bool


WAYS = tuple(
    Way(
        f"{callers} {kind}{'s' * (callers > 1)}, {'gathered' if batching else 'one by one'}", threads, callers, batching
    )
    for threads, kind in ((False, "task"), (True, "thread"))
    for callers in (1, 64)
    for batching in (True, False)
)


class Sample(msgspec.Struct):
    """One round of one way."""

    run: Run
    client_cpu: float
    node_cpu: float


class Row(msgspec.Struct, kw_only=True):
    """Medians over the rounds. A latency is that of prepare and confirm together."""

    name: str
    per_second: float
    p50_ms: float
    p99_ms: float
    client_cpu_us: float
    node_cpu_us: float


def measure(rounds: int, seconds: float, directory: Path | None) -> list[Row]:
    """Every way, `seconds` a round, each on a fresh node: what piles up must not slow down the next."""
    taken: dict[str, list[Sample]] = {way.name: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            taken[way.name].append(_sample(way, seconds, directory))
    return [_row(name, samples) for name, samples in taken.items()]


def _sample(way: Way, seconds: float, directory: Path | None) -> Sample:
    with Node(directory) as node:
        url = f"http://127.0.0.1:{node.port}"
        with Client(url) as client:
            client.put_topic(TOPIC, subscriptions=[SUBSCRIPTION])
        node_before, before = node.cpu_seconds(), process_time()
        run = _threads(url, way, seconds) if way.threads else uvloop.run(_tasks(url, way, seconds))
        used, node_used = process_time() - before, node.cpu_seconds() - node_before
        return Sample(run=run, client_cpu=used * 1e6 / run.done, node_cpu=node_used * 1e6 / run.done)


async def _tasks(url: str, way: Way, seconds: float) -> Run:
    run = Run(latencies=[])
    async with AsyncClient(url, batching=way.batching) as client:
        stop_at = perf_counter() + seconds

        async def drive(number: int) -> None:
            while (started := perf_counter()) < stop_at:
                message = await client.prepare(TOPIC, {"order": number, "note": NOTE})
                await client.confirm(message.id)
                run.latencies.append(perf_counter() - started)

        started = perf_counter()
        await asyncio.gather(*map(drive, range(way.callers)))
        run.seconds = perf_counter() - started
    run.done = len(run.latencies)
    return run


def _threads(url: str, way: Way, seconds: float) -> Run:
    run = Run(latencies=[])
    with Client(url, batching=way.batching) as client:
        stop_at = perf_counter() + seconds

        def drive(number: int) -> None:
            while (started := perf_counter()) < stop_at:
                message = client.prepare(TOPIC, {"order": number, "note": NOTE})
                client.confirm(message.id)
                run.latencies.append(perf_counter() - started)

        started = perf_counter()
        threads = [threading.Thread(target=drive, args=(number,)) for number in range(way.callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run.seconds = perf_counter() - started
    run.done = len(run.latencies)
    return run


def _row(name: str, samples: list[Sample]) -> Row:
    def middle(of: Callable[[Sample], float]) -> float:
        return statistics.median(map(of, samples))

    return Row(
        name=name,
        per_second=middle(lambda each: each.run.per_second),
        p50_ms=middle(lambda each: each.run.percentile_ms(0.5)),
        p99_ms=middle(lambda each: each.run.percentile_ms(0.99)),
        client_cpu_us=middle(lambda each: each.client_cpu),
        node_cpu_us=middle(lambda each: each.node_cpu),
    )


def _print(rows: list[Row]) -> None:
    line = "{:<26} {:>11} {:>9} {:>9} {:>14} {:>12}"
    print(line.format("prepare and confirm by", "messages/s", "p50 ms", "p99 ms", "client CPU us", "node CPU us"))
    for row in rows:
        print(
            line.format(
                row.name,
                f"{row.per_second:,.0f}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.client_cpu_us:.0f}",
                f"{row.node_cpu_us:.0f}",
            )
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.sdk_client", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--directory", type=Path, help="where the databases lie (default: the temporary directory)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    rows = measure(arguments.rounds, arguments.seconds, arguments.directory)
    if arguments.json:
        print(json.dumps({"rows": msgspec.to_builtins(rows)}))
    else:
        _print(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
