"""Whether this node can do its work, and if not, what stands in the way."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from aftercommit.domain.errors import TemporarilyUnavailable
from aftercommit.ports.broker import Broker
from aftercommit.ports.store import Reader
from aftercommit.service.heartbeat import Heartbeat
from aftercommit.service.loop import Supervisor

# Shorter than the time-out of the usual probe.
PING_SECONDS: Final = 0.9


class Readiness:
    """Asks the store, the broker and the loops.

    A broker in trouble is told, but the node stays ready: it takes messages all the same, and sends them later.
    """

    def __init__(
        self,
        reader: Reader,
        broker: Broker,
        supervisor: Supervisor,
        *,
        queue_depth: Callable[[], int],
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._reader = reader
        self._broker = broker
        self._supervisor = supervisor
        self._queue_depth = queue_depth
        self._heartbeat = heartbeat
        self._stopping = False

    def stop(self) -> None:
        """Not ready from now on: the node is going down."""
        self._stopping = True

    async def report(self, *, nodes: bool = False) -> tuple[bool, dict[str, Any]]:
        """Whether the node is ready, and the details by part; with `nodes` also who else uses the database."""
        store = await self._store()
        loops = {name: msgspec.to_builtins(each) for name, each in self._supervisor.report().items()}
        ready = store == "ok" and self._supervisor.healthy() and not self._stopping
        return ready, {
            "ready": ready,
            "stopping": self._stopping,
            "store": store,
            "broker": self._broker.trouble or "ok",
            "queue_depth": self._queue_depth(),
            "loops": loops,
            **(await self._heartbeat.report() if nodes and self._heartbeat is not None else {}),
        }

    async def _store(self) -> str:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._reader.ping()
        except TimeoutError:
            return f"The store did not write within {PING_SECONDS:g} s."
        except TemporarilyUnavailable as error:
            return error.detail
        return "ok"
