"""Everything the package counts is in the table of metrics, with exactly these labels."""

import ast
from collections.abc import Iterator
from pathlib import Path

from aftercommit.telemetry.declared import METRICS, Kind
from tests.architecture.tree import SourceFile, read_tree

METHODS = {"count": Kind.COUNTER, "observe": Kind.HISTOGRAM, "set_gauge": Kind.GAUGE}
OBSERVERS = ("observer", "_observer", "metrics", "_metrics")


def uses() -> Iterator[tuple[SourceFile, ast.Call, Kind, str]]:
    """Each call of an observer whose metric is spelled out."""
    for file in read_tree(Path(__file__).parents[2]).in_areas("src"):
        for node in ast.walk(file.syntax):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            receiver = getattr(node.func.value, "attr", getattr(node.func.value, "id", ""))
            name = node.args[0]
            if receiver in OBSERVERS and node.func.attr in METHODS and isinstance(name, ast.Constant):
                yield file, node, METHODS[node.func.attr], str(name.value)


def test_every_use_of_a_metric_is_declared_with_its_labels():
    offences = []
    for file, call, kind, name in uses():
        labels = {str(each.arg) for each in call.keywords} - {"amount", "value"}
        declared = METRICS.get(name)
        if declared is None or declared.kind is not kind or set(declared.labels) != labels:
            offences.append(f"{file.at(call)}: {kind} {name} with labels {sorted(labels)}")

    assert not offences, "Not as in telemetry/declared.py:\n" + "\n".join(offences)


def test_the_uses_are_found():
    assert {"events", "batch_size", "loop_runs", "check_calls"} <= {name for _, _, _, name in uses()}
