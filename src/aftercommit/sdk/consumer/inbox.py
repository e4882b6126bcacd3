"""The consumer's side of protocol 5: inbox row and business change in one transaction, so that the effect is once."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aftercommit import wire
from aftercommit.sdk.barrier.purge import KEEP_DAYS, purge_receipts
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from aftercommit.sdk.databases.adapt import database_of
from aftercommit.sdk.databases.failures import Failure, failure_of
from aftercommit.sdk.databases.port import Database, Handle
from aftercommit.sdk.errors import AfterCommitClientError
from aftercommit.sdk.service import AsyncBatchCalls, AsyncService, BatchCalls, BlockingService, Service
from aftercommit.sdk.transactions.points import Point, Probe, probe_of
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction

# What a handler does with a delivery and its transaction (None without a database), and may return instead of raising.
Work: TypeAlias = Callable[[Delivery, Any], Fail | RetryLater | None]
AsyncWork: TypeAlias = Callable[[Delivery, Any], Awaitable[Fail | RetryLater | None]]

_log: Final = logging.getLogger("aftercommit.consumer")


class _Reception:
    """Receives deliveries, without knowing whether its ports block."""

    def __init__(
        self,
        service: Service,
        database: Database | None,
        begin: Callable[[Service, Handle, Probe], Transaction | AsyncTransaction],
        probe: Probe,
    ) -> None:
        self.service = service
        self.database = database
        self._begin = begin
        self._probe = probe

    async def receive(self, delivery: Delivery, subscription: str, work: AsyncWork) -> Receipt:
        """Do the work once, and report. Raises nothing but what ends the process."""
        if not delivery.is_for(subscription):
            return Receipt.NOT_MEANT
        try:
            receipt = await self._once(delivery, subscription, work)
        except Fail as refusal:
            item = wire.FailItem(id=delivery.id, reason=refusal.reason, subscription=subscription)
            await self._report(delivery, self.service.fail([item]))
            return Receipt.FAILED
        except RetryLater as wish:
            _log.info("Message %s is to come again: %s", delivery.id, wish)
            return Receipt.RETRY_LATER
        except Exception:
            _log.exception("The handler of message %s failed; the message will come again.", delivery.id)
            return Receipt.RETRY_LATER
        self._probe(Point.BEFORE_REPORT)
        await self._report(
            delivery, self.service.complete([wire.CompleteItem(id=delivery.id, subscription=subscription)])
        )
        self._probe(Point.AFTER_REPORT)
        return receipt

    async def _once(self, delivery: Delivery, subscription: str, work: AsyncWork) -> Receipt:
        if self.database is None:
            await self._do(work, delivery, None)
            return Receipt.COMPLETED
        failed: Exception | None = None
        is_first = False
        async with self.database.open() as handle:
            transaction = self._begin(self.service, handle, self._probe)
            await transaction.local.begin()
            try:
                await handle.execute(handle.dialect.receive(), [subscription, delivery.id])
                is_first = True
                transaction.local.require_whole(handle.dialect.received(), [subscription, delivery.id])
                await self._do(work, delivery, transaction)
            except BaseException as error:
                in_order = await transaction.local.cancel(error)
                if not in_order or not isinstance(error, Exception):
                    raise
                failed = error
            else:
                await transaction.local.finish()
        if failed is None:
            return Receipt.COMPLETED
        # A duplicate key that the handler's own statements met is the handler's error.
        if not is_first and failure_of(failed) is Failure.DUPLICATE:
            return Receipt.DUPLICATE
        raise failed

    async def _do(self, work: AsyncWork, delivery: Delivery, transaction: Any) -> None:
        self._probe(Point.BEFORE_WORK)
        result = await work(delivery, transaction)
        if isinstance(result, Fail | RetryLater):
            raise result
        self._probe(Point.AFTER_WORK)

    async def _report(self, delivery: Delivery, call: Awaitable[list[BatchResult]]) -> None:
        """Tell the service. Whoever is not heard, or refused, is asked again by the next delivery, if there is one."""
        try:
            (await call)[0].unwrap()
        except AfterCommitClientError as error:
            _log.warning("The outcome of message %s could not be reported: %s", delivery.id, error)


class Inbox:
    """Receives messages for one subscription, with blocking drivers, from wherever they come (pika, Celery, ...).

    In one transaction: the inbox row, what `work` writes, and what it publishes. A message that was received before is
    not worked on again, but reported again.

        inbox = Inbox(client, Session, subscription="stock")          # Session: a sessionmaker, an engine, a function

        def reserve(delivery, tx):
            tx.session.add(Reservation(order=delivery.json()["order"]))

        receipt = inbox.receive(Delivery.received(message.headers, message.body), reserve)
    """

    def __init__(
        self, client: BatchCalls, database: Any = None, *, subscription: str = "default", probe: Probe | None = None
    ) -> None:
        """`database`: an engine, a pool, a sessionmaker, or a function that returns a session or connection.

        Without one nothing keeps the effect from happening twice, and `work` gets None for its transaction.
        """
        self.subscription = subscription
        self._reception = _Reception(
            BlockingService(client),
            None if database is None else database_of(database),
            lambda service, handle, passed: Transaction(service, handle, probe=passed),
            probe or probe_of(client),
        )

    def receive(self, delivery: Delivery, work: Work) -> Receipt:
        """Do `work(delivery, tx)` once, commit, and report; `tx.session` is the session or connection.

        Never raises for what the handler, the database or the service do: the receipt says what became of it.
        Acknowledge the broker's copy whichever it is.
        """

        async def wait_for(given: Delivery, transaction: Any) -> Fail | RetryLater | None:
            return work(given, transaction)

        return run_now(self._reception.receive(delivery, self.subscription, wait_for))

    def purge(self, *, keep_days: int = KEEP_DAYS) -> int:
        """Delete old rows of messages that are settled or unknown at the service; returns how many."""
        database = _required(self._reception.database)
        return run_now(purge_receipts(database, self._reception.service, self.subscription, keep_days=keep_days))


class AsyncInbox:
    """The same for asyncio; `work` is a coroutine function, and `receive` is awaited.

    inbox = AsyncInbox(client, async_sessionmaker(engine), subscription="stock")
    """

    def __init__(
        self,
        client: AsyncBatchCalls,
        database: Any = None,
        *,
        subscription: str = "default",
        probe: Probe | None = None,
    ) -> None:
        """`database`: an engine, a pool, a sessionmaker, or a function that returns a session or connection."""
        self.subscription = subscription
        self._reception = _Reception(
            AsyncService(client),
            None if database is None else database_of(database),
            lambda service, handle, passed: AsyncTransaction(service, handle, probe=passed),
            probe or probe_of(client),
        )

    async def receive(self, delivery: Delivery, work: AsyncWork) -> Receipt:
        """Do `work(delivery, tx)` once, commit, and report."""
        return await self._reception.receive(delivery, self.subscription, work)

    async def purge(self, *, keep_days: int = KEEP_DAYS) -> int:
        """Delete old rows of messages that are settled or unknown at the service; returns how many."""
        database = _required(self._reception.database)
        return await purge_receipts(database, self._reception.service, self.subscription, keep_days=keep_days)


def _required(database: Database | None) -> Database:
    if database is None:
        raise TypeError("An inbox without a database has nothing to purge.")
    return database
