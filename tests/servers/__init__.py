"""Servers that a machine may not have: their tests are skipped by name, or fail where all are required."""

import os
from collections import Counter
from collections.abc import Generator
from typing import TypeVar

import pytest

# Where a test finds the servers; this file says what happens to a test whose server is not there.
pytest_plugins = ["tests.servers.fixtures"]

REASON = "cannot start server "
REQUIRE = "AFTERCOMMIT_TEST_REQUIRE"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def require_server(name: str, found: bool) -> None:
    """Go on if the server was found, else skip the test with a reason that the summary understands."""
    if not found:
        pytest.skip(f"{REASON}{name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of a test."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole file."""
    return _judged((yield))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the servers that could not be started, so that a skip is never overlooked."""
    skipped = terminalreporter.getreports("skipped")
    counts = Counter(name for report in skipped if (name := _missing_server(report)))
    if counts:
        servers = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"Not tested, because these servers cannot be started here: {servers}", yellow=True)


def _judged(report: Report) -> Report:
    server = _missing_server(report)
    if server and os.environ.get(REQUIRE) == "all":
        report.outcome = "failed"
        report.longrepr = f"{REASON}{server}, and {REQUIRE}=all makes that a failure: install it."
    return report


def _missing_server(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """The server that a report says is missing, if that is why it was skipped."""
    if report.outcome != "skipped" or not isinstance(report.longrepr, tuple):
        return None
    _before, found, name = report.longrepr[2].partition(REASON)
    return name if found else None
