"""`python -m benchmarks.storm`: a million transactions that nobody confirmed, all of them overdue for a check.

They belong to five applications; four answer every check, the fifth takes calls and never answers. Meanwhile messages
live as on any day, at a fixed rate and call by call; what they wait is compared with a day without a storm.
"""

import argparse
import asyncio
import json
import sys
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Final

import msgspec
import psycopg
import uvloop

from aftercommit.clocks import wall_ms
from aftercommit.domain.catalog import SubscriptionSpec, TopicSpec, put_app, put_topic
from aftercommit.domain.lifecycle import Status
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.store import SqlStore
from benchmarks.fill import Filling, fill, make_days
from benchmarks.http import Run
from benchmarks.initiators import SILENT, Initiators
from benchmarks.lives import pattern, register_in
from benchmarks.meters import spread
from benchmarks.node import Node
from benchmarks.places import ServerPlace, postgresql
from benchmarks.workloads import paced_cycles

ANSWERING: Final = ("bank", "cart", "mail", "shop")
SILENT_APP: Final = "void"
# Prepared long enough ago that every check is due.
FIRST_MS: Final = 6 * 3600 * 1000
LAST_MS: Final = 600 * 1000
WHOLE_SECONDS_MAX: Final = 3600.0
LOOK_SECONDS: Final = 5.0


class Live(msgspec.Struct, kw_only=True):
    """How long messages waited, in ms: a call pair of prepare and confirm, and a life until it was completed."""

    name: str
    per_second: float
    pair_p50: float
    pair_p99: float
    life_p50: float
    life_p99: float


class Storm(msgspec.Struct, kw_only=True):
    """What became of it. Messages resolved by application; processors used, as shares of one; bytes of log."""

    rows: int
    filled_seconds: float
    seconds: float
    resolved: dict[str, int]
    resolved_whole_seconds: float | None
    node_cpus: float
    database_cpus: float
    log_bytes: int
    batches: str
    lives: list[Live]

    @property
    def per_second(self) -> float:
        """Messages resolved per second while it was watched."""
        return sum(self.resolved.values()) / self.seconds


def measure(rows: int, seconds: float, rate: float, *, whole: bool) -> Storm:
    """A calm day on an empty database, then the storm. `rate`: lives per second in both."""
    with postgresql() as place, Initiators() as initiators:
        _say(f"{rows:,} messages are prepared and left alone.")
        with place.databases() as database:
            url = database.url()
            filled = _prepare(url, initiators, 0)
            with Node(None, url) as node:
                calm = _live("without a storm", uvloop.run(paced_cycles(node.port, rate, min(seconds, 30.0))))
        with place.databases() as database:
            url = database.url()
            filled = _prepare(url, initiators, rows)
            _say(f"That took {filled:.0f} s. The storm begins.")
            return _storm(place, url, rows, filled, calm, seconds, rate, whole=whole)


def _storm(
    place: ServerPlace, url: str, rows: int, filled: float, calm: Live, seconds: float, rate: float, *, whole: bool
) -> Storm:
    began_counts, waiting = place.counts(), _waiting(url)
    with Node(None, url) as node:
        # From the node's start: it asks from its first second on.
        began, cpu, metrics = perf_counter(), place.database_cpu_seconds(), node.metrics()
        live = _live("in the storm", uvloop.run(paced_cycles(node.port, rate, seconds)))
        left, watched = _waiting(url), perf_counter() - began
        storm = Storm(
            rows=rows,
            filled_seconds=filled,
            seconds=watched,
            resolved={name: waiting[name] - left.get(name, 0) for name in (*ANSWERING, SILENT_APP)},
            resolved_whole_seconds=None,
            node_cpus=node.cpu_seconds() / watched,
            database_cpus=(place.database_cpu_seconds() - cpu) / watched,
            log_bytes=(place.counts() - began_counts).log_bytes or 0,
            batches=spread(metrics, node.metrics(), "batch_size"),
            lives=[calm, live],
        )
        if whole:
            storm.resolved_whole_seconds = asyncio.run(_ended(url, began))
    return storm


async def _ended(url: str, began: float) -> float:
    """Seconds since `began` until nothing of those who answer waits."""
    until = monotonic() + WHOLE_SECONDS_MAX
    # One message of each is the pattern of the others, and due a minute later.
    while (left := sum(count for name, count in _waiting(url).items() if name in ANSWERING)) > len(ANSWERING):
        if monotonic() > until:
            raise SystemExit(f"After {WHOLE_SECONDS_MAX:g} s {left:,} messages still wait.")
        _say(f"{left:,} wait after {perf_counter() - began:.0f} s.")
        await asyncio.sleep(LOOK_SECONDS)
    return perf_counter() - began


def _prepare(url: str, initiators: Initiators, rows: int) -> float:
    """Tables, applications and rows; the seconds that the rows took."""
    return fill(url, asyncio.run(_fillings(url, initiators, rows)))


async def _fillings(url: str, initiators: Initiators, rows: int) -> list[Filling]:
    now = wall_ms()
    store = SqlStore(Address.parse(url), chance=lambda: 0.5, migrate=True)
    await store.open(now)
    patterns = []
    try:
        await register_in(store)
        for name in (*ANSWERING, SILENT_APP):
            check_url = initiators.url(SILENT if name == SILENT_APP else f"/{name}")
            await store.edit_catalog(partial(put_app, name=name, now=now, check_url=check_url, check_signed=False), now)
            [app] = (each.id for each in store.catalog.apps.values() if each.name == name)
            spec = TopicSpec(name=f"{name}.done", app=app, subscriptions=(SubscriptionSpec(name="books", app=app),))
            await store.edit_catalog(partial(put_topic, spec=spec, now=now), now)
            patterns.append(await pattern(store, spec.name, Status.PENDING_CONFIRMATION))
    finally:
        await store.close()
    await make_days(url, now - FIRST_MS, now)
    share = rows // len(patterns)
    return [Filling(pattern=each, rows=share, first_at=now - FIRST_MS, end_at=now - LAST_MS) for each in patterns]


def _waiting(url: str) -> dict[str, int]:
    """Unresolved messages by application, as they are counted."""
    statuses = [Status.PENDING_CONFIRMATION.value, Status.UNDECIDED.value]
    with psycopg.connect(url) as connection:
        found: list[tuple[Any, ...]] = connection.execute(
            "SELECT app.name, sum(messages) FROM tally JOIN app ON app.id = tally.app"
            " WHERE status = ANY(%s) GROUP BY app.name",
            [statuses],
        ).fetchall()
    return {name: int(count) for name, count in found}


def _live(name: str, runs: tuple[Run, Run]) -> Live:
    pairs, lives = runs
    return Live(
        name=name,
        per_second=lives.per_second,
        pair_p50=pairs.percentile_ms(0.5),
        pair_p99=pairs.percentile_ms(0.99),
        life_p50=lives.percentile_ms(0.5),
        life_p99=lives.percentile_ms(0.99),
    )


def table(storm: Storm) -> str:
    """As text."""
    line = "{:<24} {:>8} {:>12} {:>12} {:>12} {:>12}"
    lines = [line.format("live messages", "lives/s", "pair p50 ms", "pair p99 ms", "life p50 ms", "life p99 ms")]
    for each in storm.lives:
        times = (each.pair_p50, each.pair_p99, each.life_p50, each.life_p99)
        lines.append(line.format(each.name, f"{each.per_second:,.0f}", *(f"{ms:.1f}" for ms in times)))
    calm, live = storm.lives
    log_bytes = storm.log_bytes / max(sum(storm.resolved.values()), 1)
    lines += [
        f"ratio of the p99: pair {live.pair_p99 / calm.pair_p99:.2f}, life {live.life_p99 / calm.life_p99:.2f}",
        "",
        f"{storm.rows:,} overdue checks, watched for {storm.seconds:.0f} s: {storm.per_second:,.0f} resolved/s",
        "by application: " + ", ".join(f"{name} {count:,}" for name, count in storm.resolved.items()),
        f"processors: node {storm.node_cpus:.2f}, database {storm.database_cpus:.2f};"
        f" log bytes per resolved message, those of live ones included: {log_bytes:,.0f}",
        f"commands in one transaction (bound: transactions): {storm.batches}",
    ]
    if storm.resolved_whole_seconds is not None:
        lines.append(f"all that could be resolved was, after {storm.resolved_whole_seconds:.0f} s")
    return "\n".join(lines)


def _say(text: str) -> None:
    """Progress goes to the error output, so that what is printed is the result."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.storm", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="overdue checks, in equal shares")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the storm is watched")
    parser.add_argument("--rate", type=float, default=100.0, help="live messages per second")
    parser.add_argument("--whole", action="store_true", help="go on until everything is resolved that can be")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    storm = measure(arguments.rows, arguments.seconds, arguments.rate, whole=arguments.whole)
    print(json.dumps(msgspec.to_builtins(storm)) if arguments.json else table(storm))
    return 0


if __name__ == "__main__":
    sys.exit(main())
