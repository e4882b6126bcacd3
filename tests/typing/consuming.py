"""Consumers whose `run` ends: they stop at the first delivery, and remember what became of it."""

from typing import Any

from aftercommit import sdk
from aftercommit.sdk import Delivery, Receipt


class RecordingConsumer(sdk.Consumer):
    """A consumer that stops itself."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.receipts: list[Receipt] = []

    def receive(self, delivery: Delivery, subscription: str | None = None, /) -> Receipt:
        receipt = super().receive(delivery, subscription)
        self.receipts.append(receipt)
        self.stop()
        return receipt


class RecordingAsyncConsumer(sdk.AsyncConsumer):
    """The same for asyncio."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.receipts: list[Receipt] = []

    async def receive(self, delivery: Delivery, subscription: str | None = None, /) -> Receipt:
        receipt = await super().receive(delivery, subscription)
        self.receipts.append(receipt)
        self.stop()
        return receipt
