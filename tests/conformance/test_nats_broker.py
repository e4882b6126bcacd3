"""NATS JetStream passes the suite of all brokers, against a real server."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from aftercommit.brokers.nats import NatsBroker
from aftercommit.clocks import new_id
from tests.brokers.jetstream import ready_broker
from tests.brokers.jetstream import receive as receive_from
from tests.conformance.broker_suite import QueueBrokerSuite, Receive
from tests.servers.nats import Nats


class TestNatsBroker(QueueBrokerSuite):
    """Nothing of its own: what only NATS does is told in tests/brokers."""

    @pytest.fixture
    async def broker(self, jetstream_server: Nats) -> AsyncIterator[NatsBroker]:
        """A connected broker."""
        async with ready_broker(jetstream_server.url) as broker:
            yield broker

    @pytest.fixture
    def topic(self) -> str:
        """A topic of this test."""
        return f"orders.{new_id()}"

    @pytest.fixture
    def receive(self, jetstream_server: Nats) -> Receive:
        """Reads with the plain client."""
        return partial(receive_from, jetstream_server.url)

    @pytest.fixture
    def bytes_max(self) -> int:
        """What the server takes by default, headers included."""
        return 1024 * 1024
