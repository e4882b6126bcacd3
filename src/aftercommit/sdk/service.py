"""The service as the transaction, the barrier and the inbox see it: the batch calls of a client, blocking or not."""

import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

from aftercommit import wire
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.errors import AfterCommitClientError, RolledBack

_log = logging.getLogger("aftercommit.transaction")


class BatchCalls(Protocol):
    """What is used of a `Client`."""

    def prepare_batch(self, messages: Iterable[wire.PrepareRequest]) -> list[BatchResult]: ...
    def confirm_batch(self, message_ids: Iterable[str]) -> list[BatchResult]: ...
    def cancel_batch(self, items: Iterable[str | wire.CancelItem], reason: str | None = None) -> list[BatchResult]: ...
    def complete_batch(
        self, items: Iterable[str | wire.CompleteItem], subscription: str | None = None
    ) -> list[BatchResult]: ...
    def fail_batch(
        self, items: Iterable[str | wire.FailItem], reason: str | None = None, subscription: str | None = None
    ) -> list[BatchResult]: ...
    def status_batch(self, message_ids: Iterable[str]) -> list[BatchResult]: ...


class AsyncBatchCalls(Protocol):
    """What is used of an `AsyncClient`."""

    async def prepare_batch(self, messages: Iterable[wire.PrepareRequest]) -> list[BatchResult]: ...
    async def confirm_batch(self, message_ids: Iterable[str]) -> list[BatchResult]: ...
    async def cancel_batch(
        self, items: Iterable[str | wire.CancelItem], reason: str | None = None
    ) -> list[BatchResult]: ...
    async def complete_batch(
        self, items: Iterable[str | wire.CompleteItem], subscription: str | None = None
    ) -> list[BatchResult]: ...
    async def fail_batch(
        self, items: Iterable[str | wire.FailItem], reason: str | None = None, subscription: str | None = None
    ) -> list[BatchResult]: ...
    async def status_batch(self, message_ids: Iterable[str]) -> list[BatchResult]: ...


class Initiator(Protocol):
    """What an initiator says.

    One result per item, in order; what is raised (`Unavailable`, `Unreachable`, ...) concerns the whole call.
    """

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Store messages."""

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Their local transaction committed."""

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        """Their local transaction can never commit."""


class Service(Initiator, Protocol):
    """What consumers say too, and what anybody may ask; answers as an `Initiator` gets them."""

    async def complete(self, items: Sequence[wire.CompleteItem]) -> list[BatchResult]:
        """A consumer's work is done."""

    async def fail(self, items: Sequence[wire.FailItem]) -> list[BatchResult]:
        """A consumer refuses for good."""

    async def status(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Read statuses; an unknown message is a result with `NotFound`."""


class BlockingService:
    """Over a `Client`. No method suspends."""

    def __init__(self, client: BatchCalls) -> None:
        self._client = client

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Store messages."""
        return self._client.prepare_batch(messages)

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Their local transaction committed."""
        return self._client.confirm_batch(message_ids)

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        """Their local transaction can never commit."""
        return self._client.cancel_batch(message_ids, reason)

    async def complete(self, items: Sequence[wire.CompleteItem]) -> list[BatchResult]:
        """A consumer's work is done."""
        return self._client.complete_batch(items)

    async def fail(self, items: Sequence[wire.FailItem]) -> list[BatchResult]:
        """A consumer refuses for good."""
        return self._client.fail_batch(items)

    async def status(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Read statuses."""
        return self._client.status_batch(message_ids)


class AsyncService:
    """Over an `AsyncClient`."""

    def __init__(self, client: AsyncBatchCalls) -> None:
        self._client = client

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Store messages."""
        return await self._client.prepare_batch(messages)

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Their local transaction committed."""
        return await self._client.confirm_batch(message_ids)

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        """Their local transaction can never commit."""
        return await self._client.cancel_batch(message_ids, reason)

    async def complete(self, items: Sequence[wire.CompleteItem]) -> list[BatchResult]:
        """A consumer's work is done."""
        return await self._client.complete_batch(items)

    async def fail(self, items: Sequence[wire.FailItem]) -> list[BatchResult]:
        """A consumer refuses for good."""
        return await self._client.fail_batch(items)

    async def status(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Read statuses."""
        return await self._client.status_batch(message_ids)


async def tell(verb: str, call: Awaitable[list[BatchResult]]) -> None:
    """Say what is decided already. Nothing is raised: the database decided, and check-back passes it on."""
    try:
        results = await call
    except AfterCommitClientError as error:
        _log.warning("Could not %s, which is left to check-back: %s", verb, error)
        return
    for refusal in (each.error for each in results if each.error is not None):
        if isinstance(refusal, RolledBack):
            _log.error("A committed transaction's message is rolled back at the service: %s", refusal)
        else:
            _log.warning("Could not %s a message, which is left to check-back: %s", verb, refusal)
