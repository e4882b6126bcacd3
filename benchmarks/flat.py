"""`python -m benchmarks.flat`: whether anything slows down when the database fills up.

Databases of one PostgreSQL, each with its own node: an empty one and full ones. In every round each is measured for a
few seconds, so that whatever else happens on the machine happens to all of them; a ratio is to the empty one.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import Final

import msgspec
import uuid_utils
import uvloop

from aftercommit.clocks import wall_ms
from aftercommit.domain.catalog import pause_topic
from aftercommit.domain.lifecycle import Status
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.retention import DAY_MS
from aftercommit.stores.sql.store import SqlStore
from benchmarks.fill import Filling, fill, make_days
from benchmarks.http import Connection, Run, decoded
from benchmarks.lives import pattern, register_in
from benchmarks.node import Node
from benchmarks.places import postgresql
from benchmarks.workloads import BATCH, SUBSCRIPTION, TOPIC, cycles_batched

PAUSED: Final = "paused"
# Everything settled is younger than the retention, which would remove it.
DAYS: Final = 6
CLAIM: Final = 50
CLAIMS: Final = 100
LISTS: Final = {
    "list": "/v1/messages?limit=50",
    "list, completed": "/v1/messages?limit=50&status=completed",
    "list, pending_confirmation": "/v1/messages?limit=50&status=pending_confirmation",
    "list, undelivered": "/v1/messages?limit=50&status=undelivered",
}
LIST_CALLS: Final = 40
WARM_UP_SECONDS: Final = 1.0
HOUR_MS: Final = 3600 * 1000


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A database: how many settled messages it holds, and how many that wait behind a paused topic."""

    settled: int = 0
    paused: int = 0

    @property
    def name(self) -> str:
        """What it is called in the table."""
        parts = [f"{self.settled:,} settled"] if self.settled else []
        parts += [f"{self.paused:,} behind a paused topic"] if self.paused else []
        return ", ".join(parts) or "empty"


class Figures(msgspec.Struct, kw_only=True):
    """One database's, over all rounds: `per_second` by round, latencies in seconds. `filled_seconds`: to fill it."""

    name: str
    filled_seconds: float
    per_second: list[float] = []
    claims: list[float] = []
    lists: dict[str, list[float]] = {}


def measure(cases: list[Case], rounds: int, seconds: float) -> list[Figures]:
    """Fill all, then measure in turns."""
    with ExitStack() as stack:
        place = stack.enter_context(postgresql())
        measured: list[tuple[Node, Figures]] = []
        for case in cases:
            database = stack.enter_context(place.databases())
            filled = _prepare(database.url(), case)
            _say(f"{case.name}: filled in {filled:.0f} s")
            node = stack.enter_context(Node(None, database.url()))
            measured.append((node, Figures(name=case.name, filled_seconds=filled, lists={each: [] for each in LISTS})))
        for node, _ in measured:
            uvloop.run(cycles_batched(node.port, 6, 4, WARM_UP_SECONDS))
        for number in range(rounds):
            # Everybody is first in turn: what one leaves behind, such as a checkpoint, is not always the next one's.
            first = number % len(measured)
            for node, figures in [*measured[first:], *measured[:first]]:
                _measure(node.port, figures, seconds)
            _say(f"round {number + 1} of {rounds}: " + ", ".join(f"{f.per_second[-1]:,.0f}/s" for _, f in measured))
        return [figures for _, figures in measured]


def _measure(port: int, figures: Figures, seconds: float) -> None:
    figures.per_second.append(uvloop.run(cycles_batched(port, 6, 4, seconds)).per_second)
    figures.claims += uvloop.run(claims(port, CLAIMS)).latencies
    for name, path in LISTS.items():
        figures.lists[name] += uvloop.run(_gets(port, path, LIST_CALLS)).latencies


def _prepare(url: str, case: Case) -> float:
    """Tables, catalogue and rows; the seconds that the rows took."""
    return fill(url, asyncio.run(_fillings(url, case)))


async def _fillings(url: str, case: Case) -> list[Filling]:
    now = wall_ms()
    store = SqlStore(Address.parse(url), chance=lambda: 0.5, migrate=True)
    await store.open(now)
    try:
        await register_in(store, TOPIC, PAUSED)
        settled = await pattern(store, TOPIC, Status.COMPLETED)
        waiting = await pattern(store, PAUSED, Status.PENDING_SEND)
        await store.edit_catalog(lambda catalog: pause_topic(catalog, PAUSED, now), now)
    finally:
        await store.close()
    await make_days(url, now - DAYS * DAY_MS, now)
    end_at = now - HOUR_MS
    return [
        Filling(pattern=settled, rows=case.settled, first_at=now - DAYS * DAY_MS, end_at=end_at),
        Filling(pattern=waiting, rows=case.paused, first_at=now - DAY_MS, end_at=end_at),
    ]


async def claims(port: int, count: int) -> Run:
    """Pulls of 50 messages that wait already, one after the other: HTTP, the claim and its commit, and the contents."""
    connection = await Connection.open("127.0.0.1", port)
    for _ in range(count * CLAIM // BATCH):
        items = [
            {"id": str(uuid_utils.uuid7()), "topic": TOPIC, "payload": {"n": 1}, "confirmed": True}
            for _ in range(BATCH)
        ]
        await connection.call("/v1/batch/prepare", msgspec.json.encode({"items": items}))
    run, left = Run(), count * CLAIM
    path = f"/v1/topics/{TOPIC}/subscriptions/{SUBSCRIPTION}/pull"
    while left > 0:
        started = perf_counter()
        answer = decoded(await connection.call(path, b'{"max":%d,"wait_seconds":2}' % CLAIM))
        seconds = perf_counter() - started
        items = [{"id": each["id"]} for each in answer["messages"]]
        if len(items) == CLAIM:
            # A smaller one has waited for messages that were still on their way.
            run.latencies.append(seconds)
        if items:
            await connection.call("/v1/batch/complete", msgspec.json.encode({"items": items}))
        left -= len(items)
    connection.close()
    return run


async def _gets(port: int, path: str, count: int) -> Run:
    connection = await Connection.open("127.0.0.1", port)
    run = Run()
    for _ in range(count):
        started = perf_counter()
        await connection.get(path)
        run.latencies.append(perf_counter() - started)
    connection.close()
    return run


def table(figures: list[Figures]) -> str:
    """As text; the first is what the others are compared with."""
    return "\n".join(_lines(figures))


def _lines(figures: list[Figures]) -> Iterator[str]:
    line = "{:<36} {:>10} {:>7} {:>9} {:>9} {:>7}"
    yield line.format("life cycles, batches of 100", "msg/s", "ratio", "pull p50", "pull p99", "ratio")
    first = figures[0]
    for each in figures:
        # Round by round, because what disturbs one round disturbs all in it.
        ratios = [own / of for own, of in zip(each.per_second, first.per_second, strict=True)]
        p50, p99 = _percentile(each.claims, 0.5), _percentile(each.claims, 0.99)
        rate = f"{statistics.median(each.per_second):,.0f}"
        ratio = f"{statistics.median(ratios):.2f}"
        yield line.format(
            each.name, rate, ratio, f"{p50:.2f}", f"{p99:.2f}", f"{p50 / _percentile(first.claims, 0.5):.2f}"
        )
    yield ""
    wide = "{:<36}" + " {:>26}" * len(LISTS)
    yield wide.format("first page of 50, p50 / p95 ms", *LISTS)
    for each in figures:
        yield wide.format(each.name, *map(_both, each.lists.values()))
    yield ""
    yield f"Pull: {CLAIM} messages through the API, in ms; its ratio is of the p50. Rates: medians of rounds. Targets:"
    yield "life cycles within 10 % of empty, pull p99 < 20 ms, pages p95 < 300 ms."


def _both(latencies: list[float]) -> str:
    return f"{_percentile(latencies, 0.5):.1f} / {_percentile(latencies, 0.95):.1f}"


def _percentile(latencies: list[float], share: float) -> float:
    return Run(latencies=latencies).percentile_ms(share)


def _say(text: str) -> None:
    """Progress goes to the error output, so that what is printed is the result."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.flat", description=__doc__)
    parser.add_argument("--rows", default="1000000,10000000", help="settled messages of each full database, by commas")
    parser.add_argument(
        "--paused", type=int, default=1_000_000, help="messages behind a paused topic (0: leave it out)"
    )
    parser.add_argument("--rounds", type=int, default=6, help="how often each database is measured")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the life cycles of one round")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    cases = [Case(), *(Case(settled=int(each)) for each in arguments.rows.split(",") if int(each))]
    cases += [Case(paused=arguments.paused)] if arguments.paused else []
    figures = measure(cases, arguments.rounds, arguments.seconds)
    print(json.dumps(msgspec.to_builtins(figures)) if arguments.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
