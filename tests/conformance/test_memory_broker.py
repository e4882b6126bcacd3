"""The built-in broker passes the suite."""

from collections.abc import AsyncIterator

import pytest

from aftercommit.brokers.memory import MemoryBroker
from tests.conformance.broker_suite import PullBrokerSuite


class TestMemoryBroker(PullBrokerSuite):
    """Nothing of its own: the suite says it all."""

    @pytest.fixture
    async def broker(self) -> AsyncIterator[MemoryBroker]:
        """An open broker."""
        broker = MemoryBroker()
        yield broker
        await broker.close()
