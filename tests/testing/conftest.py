"""The kit's own fixture, under a name of ours, so that these tests do not depend on how the plug-in was loaded."""

from collections.abc import Iterator

import pytest

from aftercommit.testing import InMemoryService


@pytest.fixture
def service() -> Iterator[InMemoryService]:
    """A service in memory with a topic that `billing` listens to."""
    with InMemoryService() as made:
        made.subscribe("orders.created", "billing", app="billing")
        yield made
