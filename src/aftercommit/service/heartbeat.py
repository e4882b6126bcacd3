"""Nodes that share a database tell it that they live. Only what is shown depends on it: nothing waits for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from aftercommit import __version__
from aftercommit.domain.errors import TemporarilyUnavailable
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import NodeRecord, Shared
from aftercommit.wire import rfc3339

INTERVAL_SECONDS: Final = 2.0
# No probe and no shutdown waits longer for a list of nodes, or to be taken off it.
PATIENCE_SECONDS: Final = 0.9


class Heartbeat:
    """This node's record in the database, and those of the others. `address` is asked at every beat."""

    def __init__(
        self,
        shared: Shared,
        *,
        node_id: str,
        address: Callable[[], str],
        roles: Sequence[str],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._shared = shared
        self._node_id = node_id
        self._address = address
        self._roles = tuple(roles)
        self._clock = clock
        self._observer = observer
        self._started_at: int | None = None
        self._trouble: str | None = None

    async def run_once(self) -> float | None:
        """One beat."""
        now = self._clock.now()
        if self._started_at is None:
            self._started_at = now
        record = NodeRecord(
            id=self._node_id,
            address=self._address(),
            roles=self._roles,
            version=__version__,
            started_at=self._started_at,
            seen_at=now,
        )
        try:
            await self._shared.beat(record)
        except TemporarilyUnavailable as error:
            # Told once per outage: that the database is away is told by everything that needs it.
            if self._trouble is None:
                self._observer.alert("heartbeat_failed", f"This node could not say that it lives: {error.detail}")
            self._trouble = error.detail
        else:
            self._trouble = None
        return INTERVAL_SECONDS

    async def retire(self) -> None:
        """Be forgotten at once. If that fails, the node's silence has the same effect a little later."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._shared.retire(self._node_id)
        except (TimeoutError, TemporarilyUnavailable) as error:
            self._observer.alert("node_not_retired", f"This node ended without being taken off the list: {error!r}.")

    async def report(self) -> dict[str, Any]:
        """`node`: this node's id, `heartbeat`: "ok" or what is wrong with it, `nodes`: who was heard of lately."""
        return {"node": self._node_id, "heartbeat": self._trouble or "ok", "nodes": await self._nodes()}

    async def _nodes(self) -> list[dict[str, Any]] | str:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                nodes = await self._shared.nodes()
        except TimeoutError:
            return f"The store did not list the nodes within {PATIENCE_SECONDS:g} s."
        except TemporarilyUnavailable as error:
            return error.detail
        return [
            msgspec.to_builtins(each) | {"started_at": rfc3339(each.started_at), "seen_at": rfc3339(each.seen_at)}
            for each in nodes
        ]
