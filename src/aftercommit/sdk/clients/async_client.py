"""The client for asyncio: the methods of `Client`, awaitable."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from msgspec import UNSET

from aftercommit import wire
from aftercommit.sdk.clients import batches, calls, loads
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.clients.async_gathering import AsyncGatherings
from aftercommit.sdk.clients.async_operator import AsyncOperatorCalls
from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.clients.courier import Courier
from aftercommit.sdk.clients.exchange import DEFAULT_URL, RETRIES_MAX, TIMEOUT_SECONDS, Line
from aftercommit.sdk.clients.transacting import AsyncTransactionCalls, AsyncTransactions, ConfirmMode, FallbackMode
from aftercommit.sdk.errors import Unavailable, Unreachable
from aftercommit.sdk.messages import MessageOptions, PulledMessage, new_message
from aftercommit.sdk.transactions.points import Probe, no_probe
from aftercommit.sdk.transports.async_http_transport import AsyncHttpTransport
from aftercommit.sdk.transports.port import AsyncTransport

T = TypeVar("T")


class AsyncClient(AsyncOperatorCalls, AsyncTransactionCalls):
    """A client of one AfterCommit service for one asyncio loop; close it, or use it in an `async with`.

    Methods, arguments, answers and errors are those of `Client`, and so is the sharing of requests, between tasks.
    Cancelling a call leaves open whether it had its effect, and cancels nobody else's; every call with an id may simply
    be made again.

        async with AsyncClient("http://127.0.0.1:8340", app="orders") as client:
            message = await client.prepare("orders.created", {"order": 42}, key="42")
            ...                                     # the local transaction commits
            await client.confirm(message.id)
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        app: str | None = None,
        key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries_max: int = RETRIES_MAX,
        confirm: ConfirmMode = "wait",
        fallback: FallbackMode | None = None,
        probe: Probe = no_probe,
        batching: bool = True,
        transport: AsyncTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`app` names the application where the service runs without keys; `key` is the API key elsewhere.

        `confirm`: whether leaving a transaction waits for the service ("wait") or not ("background"); what is not
        heard is settled by check-back either way. `fallback="outbox"`: transactions commit while the service cannot be
        reached, and an outbox relay hands their messages over later. `batching` False: every call goes
        by itself. `probe` is called at each `Point`, for tests.

        `transport`, `sleep`, `clock` and `chance` are seams for tests and for networks of your own.
        Raises ValueError for an address or a name that cannot be one.
        """
        self._line = Line(
            base_url=base_url,
            app=app,
            key=key,
            timeout_seconds=timeout_seconds,
            retries_max=retries_max,
            clock=clock,
            chance=chance,
        )
        self._transport: AsyncTransport = AsyncHttpTransport() if transport is None else transport
        self._courier = Courier(self._line, send=self._transport.send, sleep=sleep)
        self._gatherings = AsyncGatherings(self._courier.carry, self._courier.late, clock)
        if batching:
            self._courier.gather = self._gatherings.gather
        self.probe = probe
        self._transactions = AsyncTransactions(self, confirm=confirm, fallback=fallback)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._line.base_url!r}, app={self._line.app!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Confirm what waits in the background, let shared requests end, then close the connections.

        May be called twice.
        """
        await self._transactions.close()
        await self._gatherings.close()
        await self._transport.close()

    # Initiators.

    async def prepare(self, topic: str, payload: Any = UNSET, **options: Unpack[MessageOptions]) -> wire.MessageStatus:
        """Store a message; it is delivered once confirmed. Commit the local transaction only after this returned.

        `payload` is any JSON value, or bytes; the options are those of `MessageOptions`. Returns `id` and `status`,
        which is the present one if this id was prepared before. Raises `RolledBack` if it was rolled back since,
        `IdConflict` if the id has other content, `Invalid` for a field that is wrong.

            await client.prepare("orders.created", {"order": 42}, key="42", check_after_seconds=30)
            await client.prepare("logs", b"\\x00\\x01", confirmed=True)        # a plain publish
        """
        return await self._courier.one(loads.prepare(new_message(topic, payload, options)))

    async def confirm(self, message_id: str) -> wire.MessageStatus:
        """Say that the local transaction committed. Repeating it is harmless. Raises `RolledBack`, `NotFound`."""
        return await self._courier.one(loads.confirm(message_id))

    async def cancel(self, message_id: str, reason: str | None = None) -> wire.MessageStatus:
        """Say that the local transaction can never commit. Raises `AlreadyConfirmed`.

        An id the service never heard of is remembered as rolled back, so that a prepare still under way is refused.
        """
        return await self._courier.one(loads.cancel(message_id, reason))

    # Consumers.

    async def complete(self, message_id: str, subscription: str | None = None) -> wire.MessageStatus:
        """Report that a message was processed. `subscription` may be left out if only one of its is yours.

        `NotFound` and `Conflict` are final: acknowledge the broker's copy all the same.
        """
        return await self._courier.one(loads.complete(message_id, subscription))

    async def fail(self, message_id: str, reason: str, subscription: str | None = None) -> wire.MessageStatus:
        """Refuse a message for good; it is not delivered again. For "try again", report nothing."""
        return await self._courier.one(loads.fail(message_id, reason, subscription))

    async def pull(
        self,
        topic: str,
        subscription: str,
        max: int = 1,  # noqa: A002 - the protocol's word
        wait_seconds: float = 0,
    ) -> list[PulledMessage]:
        """Fetch up to `max` (1 to 100) due messages from the built-in broker, waiting up to 30 s for the first.

        Each counts an attempt, and is hidden until it is reported or its redelivery time has come.

            for message in await client.pull("orders.created", "billing", max=10, wait_seconds=20):
                bill(message.json())
                await client.complete(message.id, "billing")
        """
        return (await self._run(calls.pull(topic, subscription, max, wait_seconds))).messages

    # Batches: any number of items, split into requests of at most 1,000 items and 8 MiB, sent one after the other, and
    # shared with what other tasks have to say at the same time.
    # One result per item, in order; an item that was refused is a result with an `error`. What is raised concerns a
    # whole request: repeat the batch, what was done already is answered as done.

    async def prepare_batch(self, messages: Iterable[wire.PrepareRequest]) -> list[BatchResult]:
        """Prepare messages made by `new_message`, for example:

        results = await client.prepare_batch([new_message("orders.created", {"order": n}) for n in range(3)])
        """
        return await self._courier.many(batches.prepare(messages))

    async def confirm_batch(self, message_ids: Iterable[str]) -> list[BatchResult]:
        """Confirm messages."""
        return await self._courier.many(batches.confirm(message_ids))

    async def cancel_batch(
        self, items: Iterable[str | wire.CancelItem], reason: str | None = None
    ) -> list[BatchResult]:
        """Cancel messages; `reason` goes with every plain id."""
        return await self._courier.many(batches.cancel(items, reason))

    async def complete_batch(
        self, items: Iterable[str | wire.CompleteItem], subscription: str | None = None
    ) -> list[BatchResult]:
        """Report messages complete; `subscription` goes with every plain id."""
        return await self._courier.many(batches.complete(items, subscription))

    async def fail_batch(
        self, items: Iterable[str | wire.FailItem], reason: str | None = None, subscription: str | None = None
    ) -> list[BatchResult]:
        """Refuse messages for good; `reason` and `subscription` go with every plain id."""
        return await self._courier.many(batches.fail(items, reason, subscription))

    async def status_batch(self, message_ids: Iterable[str]) -> list[BatchResult]:
        """Read the statuses of messages; an unknown one is a result with `NotFound`."""
        return await self._courier.many(batches.status(message_ids))

    async def ready(self) -> bool:
        """Whether the service answers and can do its work. Asked once, without repeats."""
        try:
            await self._run(calls.ready(), retries_max=0)
        except (Unavailable, Unreachable):
            return False
        return True

    async def _run(self, call: Call[T], retries_max: int | None = None) -> T:
        return await self._courier.make(call, retries_max)
