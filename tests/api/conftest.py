"""The doors the tests knock at."""

from collections.abc import AsyncIterator

import pytest

from tests.api.door import Door, door


@pytest.fixture
async def api() -> AsyncIterator[Door]:
    """A node with a registered topic: `orders` prepares, `billing` consumes."""
    async with door() as opened:
        await opened.world.register()
        yield opened
