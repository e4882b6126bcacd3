"""A server for each test that harms one."""

from collections.abc import Iterator

import pytest

from tests.servers import require_server
from tests.servers.nats import Nats


@pytest.fixture
def own_nats() -> Iterator[Nats]:
    """A NATS for this test alone, running."""
    server = Nats.found()
    require_server(Nats.name, found=server is not None)
    assert server is not None
    with server:
        yield server
