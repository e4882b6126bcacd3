"""A node that all cheap tests share, nodes for those that kill, and what a node said when a test fails."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.caller import Caller
from tests.e2e.names import fresh
from tests.e2e.node import Node


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker used here."""
    config.addinivalue_line("markers", "slow: takes longer than five seconds because a real clock must pass")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last words of the nodes that a failed test used."""
    report = yield
    if report.failed:
        arguments: dict[str, Any] = getattr(item, "funcargs", {})
        for name, value in arguments.items():
            if isinstance(value, Node):
                report.sections.append((f"what the node said ({name})", value.log_tail()))
    return report


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node for everybody: use topics and applications of your own, and leave it running."""
    with Node(tmp_path_factory.mktemp("shared_node")) as shared:
        yield shared
        assert shared.running, f"The shared node ended with {shared.exit_code}:\n{shared.log_tail()}"
        shared.terminate()
        said = shared.log.read_text(errors="replace")
        assert "Traceback" not in said, (
            f"The shared node hit a bug of its own:\n{said[said.index('Traceback') :][:4000]}"
        )


@pytest.fixture(autouse=True)
def _only_this_tests_log(request: pytest.FixtureRequest) -> None:
    """Where the shared node is used, show what it said during this test only."""
    if "node" in request.fixturenames:
        request.getfixturevalue("node").mark()


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    """A node for this test alone, to be killed and started again."""
    with Node(tmp_path) as own:
        yield own


@pytest.fixture
def topic() -> str:
    """A topic of this test."""
    return fresh("orders.created.")


@pytest.fixture
def orders(node: Node) -> Iterator[Caller]:
    """An initiator on the shared node, an application of this test."""
    with node.caller(fresh("orders-")) as caller:
        yield caller


@pytest.fixture
def billing(node: Node) -> Iterator[Caller]:
    """A consumer on the shared node, another application of this test."""
    with node.caller(fresh("billing-")) as caller:
        yield caller


@pytest.fixture
def operator(node: Node) -> Iterator[Caller]:
    """Whoever does not name an application on a node without keys."""
    with node.caller() as caller:
        yield caller
