"""The built-in broker. It has no queue of its own: what the store marks sent may be pulled, on any node.

All that lives here is who waits for what.
"""

import asyncio
from collections.abc import Iterable, Sequence

from aftercommit.ports.broker import Accepted, Answer, BrokerCapabilities, Outgoing, Route, Unavailable

_CAPABILITIES = BrokerCapabilities(store_backed=True, window_max=1000)
_CLOSED = "The broker is closed."


class MemoryBroker:
    """Accepts everything, and wakes one waiting consumer per delivery."""

    def __init__(self) -> None:
        self._waiters: dict[int, list[asyncio.Event]] = {}
        self._closed = False

    @property
    def capabilities(self) -> BrokerCapabilities:
        """Backed by the store."""
        return _CAPABILITIES

    @property
    def trouble(self) -> str | None:
        """Only its end."""
        return _CLOSED if self._closed else None

    async def open(self) -> None:
        """Nothing to connect to."""

    def declare(self, route: Route) -> None:
        """The store knows who receives what."""

    async def publish(self, batch: Sequence[Outgoing]) -> list[Answer]:
        """The store holds the messages already, so that accepting them takes nothing."""
        if self._closed:
            return [Unavailable(_CLOSED)] * len(batch)
        return [Accepted()] * len(batch)

    async def close(self) -> None:
        """Wake everybody who waits: nothing more will come."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.set()

    def announce(self, subscriptions: Iterable[int]) -> None:
        """One delivery of each named subscription became pullable; naming it twice wakes two."""
        for subscription in subscriptions:
            sleeping = next((each for each in self._waiters.get(subscription, ()) if not each.is_set()), None)
            if sleeping is not None:
                sleeping.set()

    def announce_all(self, subscription: int) -> None:
        """Wake the whole line."""
        for waiter in self._waiters.get(subscription, ()):
            waiter.set()

    def waiter(self, subscription: int) -> asyncio.Event:
        """A place in the line of a subscription."""
        event = asyncio.Event()
        self._waiters.setdefault(subscription, []).append(event)
        return event

    def leave(self, subscription: int, waiter: asyncio.Event) -> None:
        """Give the place back. A wake that came meanwhile goes to the next in line."""
        waiters = self._waiters.get(subscription, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(subscription, None)
        if waiter.is_set():
            self.announce((subscription,))
