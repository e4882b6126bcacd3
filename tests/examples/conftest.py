"""A real node for the examples, and their folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aftercommit.testing.node_process import Server

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Server]:
    """A node of this test's own."""
    with Server(tmp_path) as started:
        yield started
