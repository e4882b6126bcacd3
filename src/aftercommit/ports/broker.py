"""The broker port: handing messages over, and hearing for each whether it was taken."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from aftercommit.domain.message import Content


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way out. `subscriptions` names those it is meant for; None: all of the topic's (first time)."""

    id: str
    topic: str
    app: str
    attempt: int
    content: Content
    subscriptions: tuple[str, ...] | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The broker has it, under the broker's own contract of durability."""


class Refused(msgspec.Struct, frozen=True):
    """This message was refused. `final`: it would be refused again whatever happens (too large, invalid)."""

    reason: str
    final: bool = False


class Unavailable(msgspec.Struct, frozen=True):
    """The destination cannot be reached or used now. Says nothing about the message; uses no budget."""

    reason: str


Answer: TypeAlias = Accepted | Refused | Unavailable


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who receives what is published to a topic from now on. `dropped`: subscriptions that it had and lost."""

    topic: str
    subscriptions: tuple[str, ...]
    dropped: tuple[str, ...] = ()


class BrokerCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between brokers. `store_backed`: the queue is the store itself, consumers pull from it."""

    store_backed: bool = False
    window_max: int = 500


class Broker(Protocol):
    """Somewhere to publish to."""

    @property
    def capabilities(self) -> BrokerCapabilities:
        """Constant for the life of the broker."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be published now, in a sentence without secrets; None if nothing is known to be in the way.

        While there is trouble nobody need claim messages: every answer would be `Unavailable`.
        """

    async def open(self) -> None:
        """Begin to connect, and return at once: a broker that is down is in `trouble`, no error. Call it once."""

    def declare(self, route: Route) -> None:
        """Say who receives a topic's messages. Returns at once; repeating it costs nothing.

        A broker with queues makes one for each subscription as soon as it can, in any case before the topic's next
        message, and lets go of those that were dropped.
        """

    async def publish(self, batch: Sequence[Outgoing]) -> list[Answer]:
        """Publish up to `window_max` messages; one answer each, in order. Not atomic: some may be accepted.

        Every answer comes within the broker's own deadline. Never raises for what the broker does; after `close`
        every answer is `Unavailable`. Publishing the same message twice is allowed. It is delivered
        once more, unless the broker tells that it is the same attempt and never answered the first time.
        """

    async def close(self) -> None:
        """Let go of connections. May be called twice."""


class PullBroker(Broker, Protocol):
    """A store-backed broker: consumers wait here and pull from the store."""

    def announce(self, subscriptions: Iterable[int]) -> None:
        """Deliveries of these subscriptions became pullable: wake whoever waits for one."""

    def announce_all(self, subscription: int) -> None:
        """Any number of deliveries of the subscription may have become pullable: wake everybody who waits for one."""

    def waiter(self, subscription: int) -> asyncio.Event:
        """An event that the next announcement of the subscription sets. Give it back with `leave`."""

    def leave(self, subscription: int, waiter: asyncio.Event) -> None:
        """The waiter is no longer needed. Unknown waiters are ignored."""
