"""`python -m benchmarks.transports`: what a request costs over each HTTP client that the SDK could stand on.

A module of its own beside `python -m benchmarks`, because it measures the client's process and not the node's. Every
figure is the median of several rounds, in which the contenders take turns. CPU: user and system time of this process
per request, the SDK's seam included; the node runs in a process of its own.
"""

import argparse
import asyncio
import json
import statistics
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import msgspec
import uuid_utils

from aftercommit.sdk.clients.exchange import Request
from benchmarks.contenders import AWAITABLE, BLOCKING
from benchmarks.http import Run
from benchmarks.node import Node

ITEMS = 10
TASKS = (1, 64)
THREADS = (1, 16)


class Row(msgspec.Struct, kw_only=True):
    """One contender under one load: medians over the rounds. Latencies are of one request."""

    name: str
    load: str
    cpu_us: float
    p50_ms: float
    p99_ms: float
    per_second: float


Taken = tuple[Run, float]


def measure(rounds: int, seconds: float, directory: Path | None) -> list[Row]:
    """Every contender under every load, `seconds` a round."""
    with Node(directory) as node:
        request = _request(node.port)
        rows: list[Row] = []
        for count in THREADS:
            load = f"{count} thread{'s' * (count > 1)}"
            rows += _rounds(list(BLOCKING), load, partial(_blocking, request, count, seconds), rounds)
        for count in TASKS:
            load = f"{count} task{'s' * (count > 1)}"
            rows += _rounds(list(AWAITABLE), load, partial(_awaitable, request, count, seconds), rounds)
        return rows


def _rounds(names: list[str], load: str, run: Callable[[str], Taken], rounds: int) -> list[Row]:
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            taken[name].append(run(name))
    return [_row(name, load, taken[name]) for name in names]


def _request(port: int) -> Request:
    # A reading call: it is the client that is measured, and a disk would only add noise. 500 bytes there, 700 back.
    ids = [{"id": str(uuid_utils.uuid7())} for _ in range(ITEMS)]
    headers = {"user-agent": "bench", "accept": "application/json", "content-type": "application/json"}
    body = msgspec.json.encode({"items": ids})
    return Request("POST", f"http://127.0.0.1:{port}/v1/batch/status", headers, body, 10.0)


def _blocking(request: Request, threads: int, seconds: float, name: str) -> Taken:
    transport = BLOCKING[name]()
    latencies: list[list[float]] = [[] for _ in range(threads)]
    stop_at = perf_counter() + seconds

    def drive(own: list[float]) -> None:
        while (started := perf_counter()) < stop_at:
            if transport.send(request).status != 200:
                raise RuntimeError(f"{name} did not get its answer.")
            own.append(perf_counter() - started)

    started, used = perf_counter(), process_time()
    workers = [threading.Thread(target=drive, args=(own,)) for own in latencies]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done = _done(latencies, perf_counter() - started, process_time() - used)
    transport.close()
    return done


def _awaitable(request: Request, tasks: int, seconds: float, name: str) -> Taken:
    async def run() -> Taken:
        transport = AWAITABLE[name]()
        latencies: list[list[float]] = [[] for _ in range(tasks)]
        stop_at = perf_counter() + seconds

        async def drive(own: list[float]) -> None:
            while (started := perf_counter()) < stop_at:
                if (await transport.send(request)).status != 200:
                    raise RuntimeError(f"{name} did not get its answer.")
                own.append(perf_counter() - started)

        started, used = perf_counter(), process_time()
        await asyncio.gather(*(drive(own) for own in latencies))
        done = _done(latencies, perf_counter() - started, process_time() - used)
        await transport.close()
        return done

    return asyncio.run(run())


def _done(latencies: list[list[float]], seconds: float, cpu: float) -> Taken:
    together = [each for own in latencies for each in own]
    return Run(done=len(together), seconds=seconds, latencies=together), cpu * 1e6 / max(len(together), 1)


def _row(name: str, load: str, taken: list[Taken]) -> Row:
    def middle(of: Callable[[Run], float]) -> float:
        return statistics.median(of(run) for run, _ in taken)

    return Row(
        name=name,
        load=load,
        cpu_us=statistics.median(cpu for _, cpu in taken),
        p50_ms=middle(lambda run: run.percentile_ms(0.5)),
        p99_ms=middle(lambda run: run.percentile_ms(0.99)),
        per_second=middle(lambda run: run.per_second),
    )


def _print(rows: list[Row]) -> None:
    line = "{:<12} {:<28} {:>8} {:>9} {:>9} {:>11}"
    print(line.format("load", "client", "CPU us", "p50 ms", "p99 ms", "requests/s"))
    for row in rows:
        print(
            line.format(
                row.load,
                row.name,
                f"{row.cpu_us:.0f}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.per_second:,.0f}",
            )
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.transports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender is measured")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each measurement")
    parser.add_argument("--directory", type=Path, help="where the database lies (default: the temporary directory)")
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
