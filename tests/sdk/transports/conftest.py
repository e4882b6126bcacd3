"""Each transport in turn."""

import pytest

from aftercommit.sdk.transports.async_http_transport import AsyncHttpTransport
from tests.sdk.transports.asking import Blocking


@pytest.fixture(params=[Blocking, AsyncHttpTransport], ids=["blocking", "awaitable"])
def kind(request):
    return request.param


@pytest.fixture
async def transport(kind):
    made = kind()
    yield made
    await made.close()
    await made.close()
