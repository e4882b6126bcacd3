"""One handler with its inbox and its limits: how many at a time, and for how long."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.handlers import Registered
from aftercommit.sdk.consumer.inbox import AsyncInbox, AsyncWork, Inbox, Work
from aftercommit.sdk.consumer.receipts import Receipt

_log: Final = logging.getLogger("aftercommit.consumer")


class Lane:
    """One handler with its inbox and its limits, for threads."""

    def __init__(self, handler: Registered[Work], inbox: Inbox, with_transaction: bool) -> None:
        self._handler = handler
        self._inbox = inbox
        self._with_transaction = with_transaction
        self._free = threading.BoundedSemaphore(handler.concurrency)

    def receive(self, delivery: Delivery, clock: Callable[[], float]) -> Receipt:
        """Receive when a place is free; a handler that took too long is undone at its end."""

        def work(given: Delivery, transaction: Any) -> Any:
            began = clock()
            result = _call(self._handler.function, given, transaction, self._with_transaction)
            self._require_in_time(given, clock() - began)
            return result

        with self._free:
            return self._inbox.receive(delivery, work)

    def _require_in_time(self, delivery: Delivery, seconds: float) -> None:
        limit = self._handler.timeout_seconds
        if limit is None or seconds <= limit:
            return
        late = f"The handler of message {delivery.id} took {seconds:.1f} s, and {limit} s are allowed"
        if self._with_transaction:
            raise TimeoutError(f"{late}; it is rolled back.")
        _log.warning("%s; there is no transaction to roll back, so it counts as done.", late)


class AsyncLane:
    """One handler with its inbox and its limits, for asyncio."""

    def __init__(self, handler: Registered[AsyncWork], inbox: AsyncInbox, with_transaction: bool) -> None:
        self._handler = handler
        self._inbox = inbox
        self._with_transaction = with_transaction
        # A semaphore belongs to the loop it was first waited for on; a test may use several.
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def receive(self, delivery: Delivery) -> Receipt:
        """Receive when a place is free; a handler that takes too long is cancelled and undone."""
        free = self._free.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._handler.concurrency))
        async with free:
            return await self._receive(delivery)

    async def _receive(self, delivery: Delivery) -> Receipt:
        """Only the work has a time limit. It is a cancellation for the inbox, so that its connection is not reused."""
        limit = asyncio.timeout(None)

        async def work(given: Delivery, transaction: Any) -> Any:
            if self._handler.timeout_seconds is not None:
                limit.reschedule(asyncio.get_running_loop().time() + self._handler.timeout_seconds)
            try:
                result = await _call(self._handler.function, given, transaction, self._with_transaction)
            finally:
                if not limit.expired():
                    limit.reschedule(None)
            if limit.expired():
                # It caught the cancellation and went on; what it wrote since is nobody's.
                raise TimeoutError("The handler went on after its time was over.")
            return result

        try:
            async with limit:
                return await self._inbox.receive(delivery, work)
        except TimeoutError:
            _log.warning(
                "The handler of message %s was cancelled after %s s and rolled back; the message will come again.",
                delivery.id,
                self._handler.timeout_seconds,
            )
            return Receipt.RETRY_LATER


def _call(function: Callable[..., Any], delivery: Delivery, transaction: Any, with_transaction: bool) -> Any:
    return function(delivery, transaction) if with_transaction else function(delivery)
