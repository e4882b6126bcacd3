"""Every metric there is, in one table. `docs/operations.md` and the dashboard use the same names.

Services name them without `aftercommit_` and `_total` (`ports.observer`).
"""

from enum import StrEnum
from typing import Final

import msgspec

from aftercommit.domain.lifecycle import Status

PREFIX: Final = "aftercommit_"
BATCH_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# The values of the label `event`, in the order of a message's life; each is also a rate of its own.
EVENTS: Final = (
    "prepared",
    "confirmed",
    "cancelled",
    Status.SENT.value,
    "pulled",
    "redelivered",
    Status.COMPLETED.value,
    Status.FAILED.value,
    Status.UNDECIDED.value,
    Status.UNDELIVERED.value,
    "resolved",
    "discarded",
    "replayed",
    "purged",
)


class Kind(StrEnum):
    """What Prometheus calls its type."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class Declared(msgspec.Struct, frozen=True):
    """A metric: its name without prefix and suffix, what it means, the names of its labels.

    `bounds`: upper bounds of a histogram's buckets, ascending. `rated`: whether `rates` tells about a counter.
    """

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    rated: bool = True


_METRICS = (
    Declared(Kind.COUNTER, "events", "What happened to messages and deliveries.", ("event",)),
    Declared(Kind.COUNTER, "refusals", "Commands refused, by the code the caller saw.", ("code",)),
    Declared(Kind.COUNTER, "checks", "Questions to initiators, by what came of them.", ("outcome",)),
    Declared(Kind.COUNTER, "check_calls", "Calls to initiators' check addresses, by how they went.", ("result",)),
    Declared(Kind.COUNTER, "orphan_reports", "Reports about messages that do not exist."),
    Declared(
        Kind.COUNTER,
        "reports_before_delivery",
        "Reports about messages that were never delivered: somebody consumes what is not committed.",
    ),
    Declared(Kind.COUNTER, "contradictions", "Answers that contradict an outcome already settled."),
    Declared(Kind.COUNTER, "publish", "Messages handed to the broker, by its answer.", ("result",)),
    Declared(Kind.COUNTER, "alerts", "Things an operator must look at.", ("name",)),
    Declared(Kind.COUNTER, "requests", "HTTP requests answered.", ("route", "method", "status"), rated=False),
    Declared(Kind.COUNTER, "requests_abandoned", "HTTP requests whose caller went away.", ("route",), rated=False),
    Declared(Kind.COUNTER, "loop_runs", "Rounds of background loops begun.", ("loop",), rated=False),
    Declared(Kind.COUNTER, "loop_failures", "Rounds of background loops that failed.", ("loop",), rated=False),
    Declared(Kind.COUNTER, "undeclared_metrics", "Uses of a metric this table does not have: a bug.", ("metric",)),
    Declared(Kind.HISTOGRAM, "batch_size", "Commands written in one transaction.", (), BATCH_SIZES),
    Declared(Kind.HISTOGRAM, "write_seconds", "Time of one write transaction.", (), SECONDS),
    Declared(Kind.HISTOGRAM, "request_seconds", "Time of one HTTP request.", ("route", "method"), SECONDS),
    Declared(Kind.GAUGE, "messages", "Messages by status.", ("status",)),
    Declared(Kind.GAUGE, "oldest_age_seconds", "Age of the oldest message that has the status.", ("status",)),
    Declared(Kind.GAUGE, "queue_depth", "Commands waiting to be written."),
    Declared(Kind.GAUGE, "loop_last_progress_seconds", "Time since a loop's last good round.", ("loop",)),
)
METRICS: Final = {each.name: each for each in _METRICS}
