"""What a consumer's work can come to, and what it says to bring that about."""

from enum import StrEnum


class Receipt(StrEnum):
    """What became of one delivery.

    - `COMPLETED`: the work is committed and was reported, or will be after the next delivery.
    - `DUPLICATE`: it had been committed before; nothing was done, and it was reported again.
    - `FAILED`: refused for good; it is not delivered again.
    - `RETRY_LATER`: undone and not reported; the service delivers it again after its redelivery time.
    - `NOT_MEANT`: a redelivery for other subscriptions; nothing was done.

    Whichever it is, a broker's copy is acknowledged: redelivery is the service's business.

        receipt = inbox.receive(delivery, reserve)
        if receipt is Receipt.FAILED:
            print(f"Message {delivery.id} can never be processed.")
    """

    COMPLETED = "completed"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    RETRY_LATER = "retry_later"
    NOT_MEANT = "not_meant"


class Fail(Exception):
    """Raise or return it from a handler: this message can never be processed. What was written is rolled back.

    The reason is kept by the service and shown to operators. At most 1,000 characters of it are sent.

        @consumer.on("orders.created", subscription="stock")
        def reserve(delivery, tx):
            raise Fail("there is no item 42")
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason[:1000] or "no reason given"


class RetryLater(Exception):
    """Raise or return it from a handler: not now. What was written is rolled back, and the message comes again.

    When it comes is the topic's policy (`redelivery_seconds`). Any other exception does the same, and is logged with
    its traceback.

        @consumer.on("orders.created", subscription="stock")
        def reserve(delivery, tx):
            raise RetryLater("the item is locked by a stock-taking")
    """
