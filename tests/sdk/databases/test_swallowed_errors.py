"""A handler that swallows an error of its database: what is reported complete is there, whatever the driver hides."""

from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.inbox import AsyncInbox
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.databases.adapt import database_of
from aftercommit.sdk.databases.failures import Failure, failure_of
from tests.sdk.transactions.recorder import AwaitedRecorder, Recorder

DELIVERY = Delivery(id="0192a8f0-0000-7000-8000-000000000001", topic="orders.created", body=b"{}")


async def test_what_is_reported_complete_is_there(driver):
    service = Recorder()
    swallowed: list[Failure] = []
    inbox = AsyncInbox(AwaitedRecorder(service), driver.source, subscription="stock")

    async def work(_delivery, tx) -> None:
        await driver.run(tx.session, "INSERT INTO orders VALUES (1)")
        try:
            await driver.run(tx.session, "INSERT INTO orders VALUES (1)")
        except Exception as error:
            swallowed.append(failure_of(error))

    receipt = await inbox.receive(DELIVERY, work)

    async with database_of(driver.source).open() as handle:
        is_there = await handle.execute("SELECT number FROM orders") != []
        await handle.rollback()
    assert swallowed == [Failure.DUPLICATE]
    # PostgreSQL gives the transaction up at the first error; the others go on without the statement.
    assert is_there == (receipt is Receipt.COMPLETED)
    assert service.verbs == (["complete"] if is_there else [])
