"""One decorator for every way of receiving: `Consumer` with blocking handlers, `AsyncConsumer` with coroutines."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.handlers import CONCURRENCY, TIMEOUT_SECONDS, Handlers, Registered
from aftercommit.sdk.consumer.inbox import AsyncInbox, AsyncWork, Inbox, Work
from aftercommit.sdk.consumer.lanes import AsyncLane, Lane
from aftercommit.sdk.consumer.pace import GRACE_SECONDS
from aftercommit.sdk.consumer.pulling import AsyncPulling, AsyncSleep
from aftercommit.sdk.consumer.pulling_threads import Pulling, Sleep
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.messages import PulledMessage
from aftercommit.sdk.service import AsyncBatchCalls, BatchCalls
from aftercommit.sdk.web import BODY_BYTES_MAX, AsgiApp, WsgiApp

H = TypeVar("H", bound=Callable[..., Any])


class ConsumerCalls(BatchCalls, Protocol):
    """What is used of a `Client`."""

    def pull(self, topic: str, subscription: str, max: int = 1, wait_seconds: float = 0) -> list[PulledMessage]: ...  # noqa: A002 - the protocol's word
    def close(self) -> None: ...


class AsyncConsumerCalls(AsyncBatchCalls, Protocol):
    """What is used of an `AsyncClient`."""

    async def pull(
        self,
        topic: str,
        subscription: str,
        max: int = 1,  # noqa: A002 - the protocol's word
        wait_seconds: float = 0,
    ) -> list[PulledMessage]: ...
    async def close(self) -> None: ...


class Consumer:
    """Handlers with blocking drivers, and everything that brings deliveries to them.

    A handler returns (completed), returns or raises `Fail` (never again), or `RetryLater`; any other exception is a bug
    that is logged, and the message comes again. The inbox row, what the handler writes with `tx.session` and what it
    publishes with `tx.publish` are one transaction: whatever is undone is undone as a whole.

        consumer = Consumer(client, Session)                # Session: a sessionmaker, an engine, a pool, a function

        @consumer.on("orders.created", subscription="stock")
        def reserve(delivery, tx):
            tx.session.add(Reservation(order=delivery.json()["order"]))

        consumer.run()                                      # or `aftercommit worker module:consumer`
    """

    def __init__(
        self,
        client: ConsumerCalls,
        database: Any = None,
        *,
        sleep: Sleep | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`database` is that of `Inbox`. Without one handlers take `(delivery)`, and may see a message twice.

        `sleep`, `clock` and `chance` are seams for tests.
        """
        self.client = client
        self._database = database
        self._handlers: Handlers[Work] = Handlers(asynchronous=False, with_transaction=database is not None)
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._clock = clock
        self._pulling = Pulling(client.pull, self._receive_pulled, sleep=sleep, clock=clock, chance=chance)

    def on(
        self,
        topic: str,
        subscription: str = "default",
        *,
        concurrency: int = CONCURRENCY,
        timeout_seconds: float | None = TIMEOUT_SECONDS,
    ) -> Callable[[H], H]:
        """Handle a topic's deliveries for a subscription with the decorated function, which stays what it was.

        At most `concurrency` run at a time, whatever brings them. A thread cannot be interrupted: a handler that took
        longer than `timeout_seconds` is rolled back when it returns, and its message comes again; without a database
        there is nothing to roll back, so it counts. Raises TypeError for a function that cannot be a handler, and
        ValueError for a second one.

            @consumer.on("orders.created", subscription="stock", concurrency=4)
            def reserve(delivery, tx): ...
        """

        def register(function: H) -> H:
            handler: Registered[Work] = Registered(topic, subscription, function, concurrency, timeout_seconds)
            self._handlers.add(handler)
            self._lanes[topic, subscription] = Lane(
                handler, Inbox(self.client, self._database, subscription=subscription), self._database is not None
            )
            return function

        return register

    @property
    def subscriptions(self) -> Sequence[tuple[str, str]]:
        """What it consumes: pairs of a topic and the name of a subscription."""
        return self._handlers.pairs()

    def receive(self, delivery: Delivery, subscription: str | None = None, /) -> Receipt:
        """Bring one delivery to its handler, from any consumer code of your own; see `Inbox.receive`.

        `subscription`: for which it came, where the topic has several handlers here. Raises `NoHandler` if nothing
        here takes it; then do not acknowledge the broker's copy.

            consumer.receive(Delivery.received(properties.headers, body), "stock")
        """
        found = self._handlers.find(delivery, subscription)
        if found is None:
            return Receipt.NOT_MEANT
        return self._lanes[found.topic, found.subscription].receive(delivery, self._clock)

    def run(self, *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Pull from the built-in broker until `stop` is called from another thread. Errors are logged and outlived.

        One thread pulls for each subscription, and each handler has as many threads as its concurrency. Returns when
        nothing runs any more, or `grace_seconds` after `stop`: how many handlers still run then.
        """
        return self._pulling.run(self._handlers.all(), grace_seconds)

    def stop(self) -> None:
        """Let `run` return: nothing new is pulled, what runs is finished. From any thread; may be called twice."""
        self._pulling.stop()

    def wsgi(
        self, *, secrets: Sequence[str], subscription: str | None = None, body_bytes_max: int = BODY_BYTES_MAX
    ) -> WsgiApp:
        """A WSGI application for a subscription's `push_url`; see `aftercommit.sdk.consumer.push`.

        app = consumer.wsgi(secrets=[os.environ["AFTERCOMMIT_SECRET"]], subscription="stock")
        """
        # Late, because only who is pushed to needs it.
        from aftercommit.sdk.consumer.push import Push  # noqa: PLC0415

        return Push(secrets, subscription, body_bytes_max).wsgi(self.receive)

    def _receive_pulled(self, message: PulledMessage, handler: Registered[Any]) -> Receipt:
        return self.receive(Delivery.pulled(message), handler.subscription)


class AsyncConsumer:
    """The same for asyncio: handlers are coroutine functions. A plain function is refused: it would hold up the loop.

    consumer = AsyncConsumer(client, async_sessionmaker(engine))

    @consumer.on("orders.created", subscription="stock", concurrency=8, timeout_seconds=30)
    async def reserve(delivery, tx):
        tx.session.add(Reservation(order=delivery.json()["order"]))

    await consumer.run()
    """

    def __init__(
        self,
        client: AsyncConsumerCalls,
        database: Any = None,
        *,
        sleep: AsyncSleep | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`database` is that of `AsyncInbox`. Without one handlers take `(delivery)`, and may see a message twice."""
        self.client = client
        self._database = database
        self._handlers: Handlers[AsyncWork] = Handlers(asynchronous=True, with_transaction=database is not None)
        self._lanes: dict[tuple[str, str], AsyncLane] = {}
        self._pulling = AsyncPulling(client.pull, self._receive_pulled, sleep=sleep, clock=clock, chance=chance)

    def on(
        self,
        topic: str,
        subscription: str = "default",
        *,
        concurrency: int = CONCURRENCY,
        timeout_seconds: float | None = TIMEOUT_SECONDS,
    ) -> Callable[[H], H]:
        """Handle a topic's deliveries for a subscription with the decorated coroutine function.

        At most `concurrency` run at a time, whatever brings them. One that takes longer than `timeout_seconds` is
        cancelled and rolled back, and its message comes again. Raises TypeError for a function that cannot be a
        handler, and ValueError for a second one.
        """

        def register(function: H) -> H:
            handler: Registered[AsyncWork] = Registered(topic, subscription, function, concurrency, timeout_seconds)
            self._handlers.add(handler)
            self._lanes[topic, subscription] = AsyncLane(
                handler, AsyncInbox(self.client, self._database, subscription=subscription), self._database is not None
            )
            return function

        return register

    @property
    def subscriptions(self) -> Sequence[tuple[str, str]]:
        """What it consumes: pairs of a topic and the name of a subscription."""
        return self._handlers.pairs()

    async def receive(self, delivery: Delivery, subscription: str | None = None, /) -> Receipt:
        """Bring one delivery to its handler, from any consumer code of your own. Raises `NoHandler`."""
        found = self._handlers.find(delivery, subscription)
        if found is None:
            return Receipt.NOT_MEANT
        return await self._lanes[found.topic, found.subscription].receive(delivery)

    async def run(self, *, grace_seconds: float = GRACE_SECONDS) -> int:
        """Pull from the built-in broker until `stop` is called. Errors are logged and outlived.

        After `stop`, handlers that still run when `grace_seconds` are over are cancelled: rolled back, and their
        messages come again. Returns how many. Cancelling `run` cancels all of them at once.
        """
        return await self._pulling.run(self._handlers.all(), grace_seconds)

    def stop(self) -> None:
        """Let `run` return: nothing new is pulled, what runs is finished. From its loop; may be called twice."""
        self._pulling.stop()

    def asgi(
        self, *, secrets: Sequence[str], subscription: str | None = None, body_bytes_max: int = BODY_BYTES_MAX
    ) -> AsgiApp:
        """An ASGI application for a subscription's `push_url`; see `aftercommit.sdk.consumer.push`.

        app = consumer.asgi(secrets=[os.environ["AFTERCOMMIT_SECRET"]], subscription="stock")
        """
        from aftercommit.sdk.consumer.push import Push  # noqa: PLC0415 - only who is pushed to needs it

        return Push(secrets, subscription, body_bytes_max).asgi(self.receive)

    async def _receive_pulled(self, message: PulledMessage, handler: Registered[Any]) -> Receipt:
        return await self.receive(Delivery.pulled(message), handler.subscription)
