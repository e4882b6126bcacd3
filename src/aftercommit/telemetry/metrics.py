"""Counting: the observer behind `/metrics` and the rates of `/v1/stats`.

Counting is on the path of every message, so the numbers are kept in plain slots and become Prometheus families only
when somebody scrapes. Belongs to the thread of the event loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from aftercommit.ports.clock import Clock
from aftercommit.telemetry.declared import EVENTS, METRICS, PREFIX, Declared, Kind

Warn: TypeAlias = Callable[[str, str, Mapping[str, str]], None]

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
RATE_SECONDS: Final = 60
# Label values come from our own tables; a bug that lets a caller choose them must not eat the memory.
SERIES_MAX: Final = 1000
OTHER: Final = "other"


class Metrics(Collector):
    """`ports.observer.Observer`, with a registry of its own.

    `warn` logs an alert: it gets name, detail and labels. `strict` is for tests: what `declared.METRICS` does not
    have, or has with other labels, raises `KeyError`; otherwise it is counted as `undeclared_metrics`.
    """

    def __init__(self, *, clock: Clock, warn: Warn | None = None, strict: bool = False) -> None:
        self._monotonic = clock.monotonic
        self._warn = warn
        self._strict = strict
        self._started_at = clock.monotonic()
        self._sources: list[Callable[[], None]] = []
        # By the name and labels as they were given: finding the slot of a repeated call is one look.
        self._found: dict[Kind, dict[tuple[object, ...], _Series]] = {kind: {} for kind in Kind}
        self._counters = self._found[Kind.COUNTER]
        self._histograms = self._found[Kind.HISTOGRAM]
        self._gauges = self._found[Kind.GAUGE]
        self._series: dict[str, dict[tuple[str, ...], _Series]] = {name: {} for name in METRICS}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # A counter that begins at nothing shows its first step; one that appears with it does not.
        for event in EVENTS:
            self._find(Kind.COUNTER, "events", {"event": event})
        for each in METRICS.values():
            if each.kind is Kind.COUNTER and not each.labels:
                self._find(each.kind, each.name, {})

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Something happened `amount` times."""
        series = self._counters.get((name, *labels.items())) or self._find(Kind.COUNTER, name, labels)
        series.value += amount
        second = int(self._monotonic())
        if series.second != second:
            series.turn_to(second)
        series.ring[second % RATE_SECONDS] += amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Something took `value` seconds, or had that size."""
        series = self._histograms.get((name, *labels.items())) or self._find(Kind.HISTOGRAM, name, labels)
        series.value += value
        series.buckets[bisect_left(series.bounds, value)] += 1

    def alert(self, name: str, detail: str, **labels: str) -> None:
        """Something an operator must look at. Counted by name only: labels and detail go to the log."""
        series = self._counters.get(("alerts", ("name", name))) or self._find(Kind.COUNTER, "alerts", {"name": name})
        series.value += 1
        series.turn_to(second := int(self._monotonic()))
        series.ring[second % RATE_SECONDS] += 1
        if self._warn is not None:
            self._warn(name, detail, labels)

    def set_gauge(self, name: str, value: float, **labels: str) -> None:
        """Something is at `value` now."""
        series = self._gauges.get((name, *labels.items())) or self._find(Kind.GAUGE, name, labels)
        series.value = value

    def add_source(self, source: Callable[[], None]) -> None:
        """Call `source` before every scrape, so that it can set its gauges."""
        self._sources.append(source)

    def rates(self) -> dict[str, float]:
        """Events per second over the last minute (or since the start), as `events.prepared`, `contradictions`..."""
        now = self._monotonic()
        # The ring holds 59 whole seconds and the part of the present one that has passed.
        span = max(min(now - self._started_at, RATE_SECONDS - 1 + now % 1), 1.0)
        rates = {}
        for name, every in self._series.items():
            if METRICS[name].kind is Kind.COUNTER and METRICS[name].rated:
                for values, series in every.items():
                    series.turn_to(int(now))
                    rates[".".join((name, *values))] = sum(series.ring) / span
        return rates

    def render(self) -> bytes:
        """The exposition for Prometheus, in the text format `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families, for the registry."""
        for source in self._sources:
            source()
        for name, every in self._series.items():
            yield _family(METRICS[name], every.items())

    def describe(self) -> Iterable[Metric]:
        """The families' names, so that registering does not call the sources."""
        return [_family(each, ()) for each in METRICS.values()]

    def _find(self, kind: Kind, name: str, labels: Mapping[str, str]) -> "_Series":
        declared = METRICS.get(name)
        if declared is None or declared.kind is not kind or set(declared.labels) != labels.keys():
            if self._strict:
                raise KeyError(f"There is no {kind} {name!r} with labels {sorted(labels)} in telemetry/declared.py.")
            self.count("undeclared_metrics", metric=str(name))
            return _Series(())
        every = self._series[name]
        values = tuple(str(labels[label]) for label in declared.labels)
        if len(every) >= SERIES_MAX and values not in every:
            values = tuple(OTHER for _ in values)
            return every.setdefault(values, _Series(declared.bounds))
        series = every.setdefault(values, _Series(declared.bounds))
        if len(self._found[kind]) < SERIES_MAX * len(METRICS):
            self._found[kind][name, *labels.items()] = series
        return series


class _Series:
    """One metric with one set of label values. A histogram's `value` is the sum, the last bucket has no bound."""

    __slots__ = ("bounds", "buckets", "ring", "second", "value")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.value = 0.0
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.ring = [0] * RATE_SECONDS
        self.second = 0

    def turn_to(self, second: int) -> None:
        """Empty the ring's places for the seconds since it was last used."""
        for passed in range(max(self.second, second - RATE_SECONDS) + 1, second + 1):
            self.ring[passed % RATE_SECONDS] = 0
        self.second = max(self.second, second)


def _family(declared: Declared, every: Iterable[tuple[tuple[str, ...], _Series]]) -> Metric:
    name = PREFIX + declared.name
    match declared.kind:
        case Kind.COUNTER:
            counter = CounterMetricFamily(name, declared.help, labels=declared.labels)
            for values, series in every:
                counter.add_metric(values, series.value)
            return counter
        case Kind.GAUGE:
            gauge = GaugeMetricFamily(name, declared.help, labels=declared.labels)
            for values, series in every:
                gauge.add_metric(values, series.value)
            return gauge
        case Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, declared.help, labels=declared.labels)
            for values, series in every:
                bounds = [*(f"{bound:g}" for bound in declared.bounds), "+Inf"]
                totals = accumulate(series.buckets)
                histogram.add_metric(values, list(zip(bounds, totals, strict=True)), series.value)
            return histogram
