"""A consumer as somebody would write it with nothing but nats-py and HTTP: fetch, report complete, acknowledge."""

import asyncio
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from tests.e2e.caller import Caller
from tests.e2e.node import Node

FETCH_SECONDS = 0.3


class NatsConsumer:
    """Reads one durable consumer in a thread of its own, for an application; use it as a context manager.

    `delivered` counts the copies of each message, `reported` holds what the service took a report of.
    """

    def __init__(self, url: str, node: Node, *, topic: str, subscription: str, app: str) -> None:
        self.delivered: Counter[str] = Counter()
        self.reported: set[str] = set()
        self.payloads: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self._url = url
        self._durable = f"{topic.replace('.', '_')}__{subscription}"
        self._subscription = subscription
        self._reports: Caller = node.caller(app)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="nats consumer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(20)
        self._reports.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            connection = Client()
            try:
                await connection.connect(
                    self._url, allow_reconnect=False, max_reconnect_attempts=1, connect_timeout=1, error_cb=_hear
                )
                await self._read(connection.jetstream(timeout=1))
            except (OSError, NatsError, JetStreamError, TimeoutError):
                # The server or the durable consumer is gone: begin anew.
                await asyncio.sleep(FETCH_SECONDS)
            finally:
                # Also of an attempt that failed half-way.
                await connection.close()

    async def _read(self, jetstream: JetStreamContext) -> None:
        await jetstream.consumer_info("AFTERCOMMIT", self._durable)
        subscription = await jetstream.pull_subscribe_bind(self._durable, "AFTERCOMMIT")
        while not self._stopping.is_set():
            try:
                batch = await subscription.fetch(100, timeout=FETCH_SECONDS)
            except TimeoutError:
                # Nothing there, or nobody: asked before the next fetch.
                await jetstream.consumer_info("AFTERCOMMIT", self._durable)
                continue
            ids = [(each.headers or {})["aftercommit-id"] for each in batch]
            for message_id, each in zip(ids, batch, strict=True):
                self.delivered[message_id] += 1
                self.payloads[message_id] = each.data
                self.headers[message_id] = dict(each.headers or {})
            self._report(ids)
            for each in batch:
                await each.ack()

    def _report(self, ids: list[str]) -> None:
        items = [{"id": each, "subscription": self._subscription} for each in dict.fromkeys(ids)]
        for result in self._reports.batch("complete", *items):
            # Late copies of what is settled are answered too; anything else would be a bug of the service.
            assert "error" not in result, result
            self.reported.add(result["id"])


async def _hear(_error: Exception) -> None:
    """What goes wrong is seen where it happens."""
