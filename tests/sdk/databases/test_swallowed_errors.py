"""A handler that swallows an error of its database: what is reported complete is there, whatever the driver hides."""

from contextlib import suppress

from aftercommit.sdk.databases.adapt import database_of
from aftercommit.sdk.delivery import Delivery
from aftercommit.sdk.inbox import AsyncInbox
from aftercommit.sdk.receipts import Receipt
from tests.sdk.transactions.recorder import AwaitedRecorder, Recorder

DELIVERY = Delivery(id="0192a8f0-0000-7000-8000-000000000001", topic="orders.created", body=b"{}")


async def test_what_is_reported_complete_is_there(driver):
    service = Recorder()
    inbox = AsyncInbox(AwaitedRecorder(service), driver.source, subscription="stock")

    async def work(_delivery, tx) -> None:
        await driver.run(tx.session, "INSERT INTO orders VALUES (1)")
        with suppress(Exception):
            await driver.run(tx.session, "INSERT INTO orders VALUES (1)")

    receipt = await inbox.receive(DELIVERY, work)

    async with database_of(driver.source).open() as handle:
        is_there = await handle.execute("SELECT number FROM orders") != []
        await handle.rollback()
    # PostgreSQL gives the transaction up at the first error; the others go on without the statement.
    assert is_there == (receipt is Receipt.COMPLETED)
    assert service.verbs == (["complete"] if is_there else [])
