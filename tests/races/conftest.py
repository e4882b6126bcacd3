"""What each campaign counted is shown at the end of the test run, for it is what a campaign is for."""

from collections.abc import Callable

import pytest

from tests.races.campaign import Report

_REPORTS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Somewhere to keep them."""
    config.stash.setdefault(_REPORTS, [])


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[Report], None]:
    """Show a report when the tests are over."""
    return lambda report: request.config.stash.setdefault(_REPORTS, []).append(str(report))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show them all."""
    for each in config.stash.get(_REPORTS, []):
        terminalreporter.write_line(each)
