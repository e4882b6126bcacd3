"""A service to pull from: blocking as a client is, or awaited as an asynchronous one."""

import asyncio
import base64
import threading
from collections import deque
from typing import Any

from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.messages import PulledMessage, new_id
from tests.sdk.transactions.recorder import Recorder

TOPIC = "orders.created"


def delivery(number: int = 1, *, topic: str = TOPIC, **fields: Any) -> Delivery:
    """A delivery of an order."""
    return Delivery(**{"id": f"m{number}", "topic": topic, "body": b'{"order": %d}' % number, **fields})


def pulled(number: int, topic: str = TOPIC) -> PulledMessage:
    """The same as a pull brings it."""
    return PulledMessage(
        id=new_id(),
        topic=topic,
        key=None,
        headers={},
        content_type="application/json",
        attempt=1,
        sent_at="2026-01-01T00:00:00.000Z",
        payload_base64=_base64(b'{"order": %d}' % number),
    )


class Service(Recorder):
    """The recorder, from which can be pulled: what is laid on the shelf, messages or an error."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf: deque[list[PulledMessage] | Exception] = deque()
        self.asked: list[int] = []
        self.emptied = threading.Event()
        self.closed = False

    def pull(self, topic: str, subscription: str, max: int = 1, wait_seconds: float = 0) -> list[PulledMessage]:  # noqa: A002
        self.asked.append(max)
        if not self.shelf:
            self.emptied.set()
            return []
        first = self.shelf.popleft()
        if isinstance(first, Exception):
            raise first
        given, kept = first[:max], first[max:]
        if kept:
            self.shelf.appendleft(kept)
        return given

    def close(self) -> None:
        self.closed = True


class AwaitedService:
    """The same for an asynchronous consumer."""

    def __init__(self, inner: Service) -> None:
        self.inner = inner
        self.emptied = asyncio.Event()
        self.was_asked = asyncio.Event()

    async def pull(self, topic: str, subscription: str, max: int = 1, wait_seconds: float = 0) -> list[PulledMessage]:  # noqa: A002
        await asyncio.sleep(0)
        self.was_asked.set()
        if not self.inner.shelf:
            self.emptied.set()
        return self.inner.pull(topic, subscription, max, wait_seconds)

    async def close(self) -> None:
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        if not name.endswith("_batch"):
            raise AttributeError(name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return getattr(self.inner, name)(*arguments, **options)

        return call


def _base64(body: bytes) -> str:
    return base64.b64encode(body).decode()
