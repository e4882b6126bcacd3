"""A process that dies at every named point, on every driver: delivered if and only if committed, the effect once."""

from collections import Counter
from collections.abc import AsyncIterator
from inspect import isawaitable
from typing import Any

import pytest

from aftercommit.sdk import (
    AsyncBarrier,
    AsyncClient,
    AsyncInbox,
    Barrier,
    Client,
    Delivery,
    Inbox,
    Point,
    PulledMessage,
    Receipt,
)
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.testing import CRASH_POINTS, InMemoryService
from tests.sdk.databases.drivers import Driver

TOPIC = "orders.created"
BEFORE_THE_COMMIT = CRASH_POINTS[: CRASH_POINTS.index(Point.AFTER_COMMIT)]


class Shop:
    """An initiator and a consumer on one driver."""

    def __init__(self, driver: Driver, service: InMemoryService, *, blocking: bool) -> None:
        self._driver = driver
        self.client: Client | AsyncClient
        self._inbox: Inbox | AsyncInbox
        if blocking:
            self.client = service.client(app="orders")
            self._inbox = Inbox(service.client(app="billing"), driver.source, subscription="billing")
            service.answer_checks_with(Barrier(driver.source))
        else:
            self.client = service.async_client(app="orders")
            self._inbox = AsyncInbox(service.async_client(app="billing"), driver.source, subscription="billing")
            service.answer_checks_with(AsyncBarrier(driver.source))

    async def order(self, number: int, *, early: bool = False) -> None:
        """One unit of work, with its message published in the block or before it."""
        async with self._driver.connect() as target:
            tx: Any = self.client.transaction(target)
            if early:
                tx.publish(TOPIC, {"order": number}, key=str(number))
            if isinstance(self.client, Client):
                with tx:
                    await self._write(tx, target, number, early=early)
            else:
                async with tx:
                    await self._write(tx, target, number, early=early)

    async def _write(self, tx: Any, target: Any, number: int, *, early: bool) -> None:
        await self._driver.run(target, f"INSERT INTO orders (number) VALUES ({number})")
        if not early:
            tx.publish(TOPIC, {"order": number}, key=str(number))

    async def receive(self, message: PulledMessage) -> Receipt:
        """One delivery; what it does is not idempotent but for the inbox."""

        async def bill(delivery: Delivery, tx: Any) -> None:
            await self._driver.run(tx.session, f"INSERT INTO bills (number) VALUES ({delivery.key})")

        def bill_now(delivery: Delivery, tx: Any) -> None:
            run_now(bill(delivery, tx))

        receipt: Any = self._inbox.receive(Delivery.pulled(message), bill if self._is_async else bill_now)  # type: ignore[arg-type]
        return await receipt if isawaitable(receipt) else receipt

    @property
    def _is_async(self) -> bool:
        return isinstance(self._inbox, AsyncInbox)

    async def numbers(self, table: str) -> Counter[str]:
        """What is in a table."""
        async with database_of(self._driver.source).open() as handle:
            rows = await handle.execute(f"SELECT number FROM {table} WHERE number > ?", [0])
            await handle.rollback()
        return Counter(str(number) for (number,) in rows)


@pytest.fixture
async def shop(driver: Driver) -> AsyncIterator[tuple[Shop, InMemoryService]]:
    """The shop and the service it uses."""
    async with driver.connect() as target:
        blocking = handle_of(target).blocking
    with InMemoryService() as service:
        service.subscribe(TOPIC, "billing", app="billing")
        yield Shop(driver, service, blocking=blocking), service


@pytest.mark.parametrize("early", [False, True], ids=["published inside", "published early"])
async def test_delivered_if_and_only_if_committed_and_billed_once(shop, early):
    program, service = shop
    await program.order(1, early=early)
    for number, point in enumerate(CRASH_POINTS, start=2):
        with service.crash_at(point) as crash:
            await program.order(number, early=early)
            await service.drain_async(program.receive, topic=TOPIC, subscription="billing")
        assert crash.happened, point
    committed = await program.numbers("orders")
    lost = {str(number) for number, point in enumerate(CRASH_POINTS, start=2) if point in BEFORE_THE_COMMIT}
    assert set(committed) == {str(number) for number in range(1, len(CRASH_POINTS) + 2)} - lost
    # Heal: checks are asked and deliveries repeated until nothing moves.
    await service.assert_consistent_async(
        TOPIC, committed=set(committed), consumer=program.receive, subscription="billing"
    )
    assert await program.numbers("bills") == committed
    service.assert_settled()
