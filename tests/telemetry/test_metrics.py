"""The metrics are those declared, counted exactly, and told as Prometheus wants them and as rates."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aftercommit.ports.observer import Observer
from aftercommit.telemetry.declared import EVENTS, METRICS, PREFIX, Kind
from aftercommit.telemetry.metrics import SERIES_MAX, Metrics
from aftercommit.telemetry.silent import SilentObserver
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    return Metrics(clock=clock, strict=True)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def sample(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return samples(metrics).get((PREFIX + name, frozenset(labels.items())))


def test_the_three_observers_are_observers():
    observers: list[Observer] = [Metrics(clock=ManualClock()), SilentObserver(), RecordingObserver()]
    for observer in observers:
        observer.count("contradictions")
        observer.observe("batch_size", 3)
        observer.alert("undecided", "1 of 2 messages checked are undecided now.", topic="orders")


def test_the_declared_names_are_unique_and_say_what_they_mean():
    assert all(each.help.endswith(".") or ": " in each.help for each in METRICS.values())
    assert all(list(each.bounds) == sorted(each.bounds) for each in METRICS.values())
    assert all(bool(each.bounds) == (each.kind is Kind.HISTOGRAM) for each in METRICS.values())


def test_every_event_and_every_counter_without_labels_is_there_before_it_happened(metrics):
    assert all(sample(metrics, "events_total", event=event) == 0 for event in EVENTS)
    assert sample(metrics, "reports_before_delivery_total") == 0


def test_counts_add_up_per_label(metrics):
    metrics.count("events", event="prepared")
    metrics.count("events", 41, event="prepared")
    metrics.count("events", 3, event="purged")
    metrics.count("events", 0, event="pulled")
    metrics.count("contradictions")

    assert sample(metrics, "events_total", event="prepared") == 42
    assert sample(metrics, "events_total", event="purged") == 3
    assert sample(metrics, "events_total", event="pulled") == 0
    assert sample(metrics, "contradictions_total") == 1


def test_the_order_of_labels_does_not_matter_but_their_names_do(metrics):
    metrics.count("requests", route="a", method="b", status="200")
    metrics.count("requests", status="200", method="b", route="a")
    metrics.count("requests", route="b", method="a", status="200")
    metrics.count("requests", method="a", route="b", status="200")

    assert sample(metrics, "requests_total", route="a", method="b", status="200") == 2
    assert sample(metrics, "requests_total", route="b", method="a", status="200") == 2


def test_a_histogram_counts_into_cumulative_buckets_whose_bounds_are_inclusive(metrics):
    for size in (1, 1, 2, 3, 1000, 1001):
        metrics.observe("batch_size", size)

    assert sample(metrics, "batch_size_bucket", le="1") == 2
    assert sample(metrics, "batch_size_bucket", le="2") == 3
    assert sample(metrics, "batch_size_bucket", le="5") == 4
    assert sample(metrics, "batch_size_bucket", le="1000") == 5
    assert sample(metrics, "batch_size_bucket", le="+Inf") == 6
    assert sample(metrics, "batch_size_count") == 6
    assert sample(metrics, "batch_size_sum") == 2008


def test_a_histogram_may_have_labels(metrics):
    metrics.observe("request_seconds", 0.003, route="/v1/messages", method="POST")

    assert sample(metrics, "request_seconds_count", route="/v1/messages", method="POST") == 1
    assert sample(metrics, "request_seconds_bucket", route="/v1/messages", method="POST", le="0.0025") == 0
    assert sample(metrics, "request_seconds_bucket", route="/v1/messages", method="POST", le="0.005") == 1


def test_gauges_are_set_also_by_sources_that_are_asked_at_each_scrape(metrics):
    depth = iter([7, 0, 1])
    metrics.set_gauge("messages", 5, status="sent")
    metrics.add_source(lambda: metrics.set_gauge("queue_depth", next(depth)))

    assert sample(metrics, "queue_depth") == 7
    assert sample(metrics, "queue_depth") == 0
    assert sample(metrics, "messages", status="sent") == 5


def test_an_alert_is_counted_by_name_and_handed_to_the_log(clock):
    warned = []
    metrics = Metrics(clock=clock, strict=True, warn=lambda *args: warned.append(args))

    metrics.alert("loop_failed", "A round failed.", loop="check")
    metrics.alert("loop_failed", "A round failed again.")

    assert sample(metrics, "alerts_total", name="loop_failed") == 2
    assert warned == [
        ("loop_failed", "A round failed.", {"loop": "check"}),
        ("loop_failed", "A round failed again.", {}),
    ]


UNDECLARED = [
    lambda metrics: metrics.count("no_such_thing"),
    lambda metrics: metrics.count("events"),
    lambda metrics: metrics.count("events", event="sent", topic="orders"),
    lambda metrics: metrics.count("batch_size"),
    lambda metrics: metrics.observe("events", 1, event="sent"),
    lambda metrics: metrics.observe("queue_depth", 1),
    lambda metrics: metrics.set_gauge("contradictions", 1),
]


@pytest.mark.parametrize("use", UNDECLARED)
def test_what_is_not_declared_raises_in_strict_mode(metrics, use):
    with pytest.raises(KeyError, match=r"telemetry/declared\.py"):
        use(metrics)


@pytest.mark.parametrize("use", UNDECLARED)
def test_what_is_not_declared_is_counted_as_such_otherwise(clock, use):
    metrics = Metrics(clock=clock)
    before = samples(metrics)

    use(metrics)

    changed = {key: value for key, value in samples(metrics).items() if before.get(key) != value}
    [((name, _), value)] = changed.items()
    assert (name, value) == (f"{PREFIX}undeclared_metrics_total", 1)


def test_two_metrics_share_nothing(clock):
    first, second = Metrics(clock=clock), Metrics(clock=clock)

    first.count("contradictions")

    assert sample(second, "contradictions_total") == 0


def test_the_number_of_series_is_limited(metrics):
    for number in range(SERIES_MAX + 50):
        metrics.count("refusals", code=f"code_{number}")
    metrics.count("refusals", code="code_3")

    assert sample(metrics, "refusals_total", code="other") == 50
    assert sample(metrics, "refusals_total", code="code_3") == 2


def test_a_rate_is_over_the_time_since_the_start_within_the_first_minute(metrics, clock):
    metrics.count("events", 5, event="prepared")
    assert metrics.rates()["events.prepared"] == 5

    clock.advance(10)
    metrics.count("events", 15, event="prepared")

    assert metrics.rates()["events.prepared"] == 2
    assert metrics.rates()["contradictions"] == 0


def test_a_steady_stream_has_a_steady_rate(metrics, clock):
    for _ in range(200):
        metrics.count("events", 7, event="completed")
        clock.advance(1)

    assert metrics.rates()["events.completed"] == pytest.approx(7)
    clock.advance(0.5)
    assert metrics.rates()["events.completed"] == pytest.approx(7, rel=0.01)


def test_a_rate_falls_to_nothing_a_minute_after_the_last_event(metrics, clock):
    clock.advance(100)
    metrics.count("events", 60, event="completed")
    clock.advance(30)
    assert metrics.rates()["events.completed"] == pytest.approx(1, rel=0.02)

    clock.advance(30)
    assert metrics.rates()["events.completed"] == 0


def test_the_ring_forgets_a_full_turn_also_when_nobody_asked(metrics, clock):
    clock.advance(3600)
    metrics.count("events", 1000, event="sent")
    clock.advance(60)
    metrics.count("events", 59, event="sent")

    assert metrics.rates()["events.sent"] == 1


def test_alerts_have_rates_and_requests_do_not(metrics):
    metrics.alert("undecided", "x")
    metrics.count("requests", route="/", method="GET", status="200")

    assert metrics.rates()["alerts.undecided"] == 1
    assert not [name for name in metrics.rates() if name.startswith("requests")]
