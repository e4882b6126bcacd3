"""The pytest plug-in: a service in memory and a real node, for who asks for them by name."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from aftercommit import testing

if TYPE_CHECKING:
    from aftercommit.testing import InMemoryService, Server


@pytest.fixture
def aftercommit() -> "Iterator[InMemoryService]":
    """A service in this process, with a clock that stands still: see `aftercommit.testing.InMemoryService`.

    def test_paying_publishes(aftercommit):
        pay(aftercommit.client(app="orders"), 42)
        aftercommit.assert_published("orders.paid", key="42")
    """
    with testing.InMemoryService() as service:
        yield service


@pytest.fixture
def aftercommit_server() -> "Iterator[Server]":
    """A real node as a process of its own: see `aftercommit.testing.Server`.

    def test_it_survives(aftercommit_server):
        with aftercommit_server.client(app="orders") as client: ...
    """
    with testing.server() as node:
        yield node
