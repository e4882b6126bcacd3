"""The blocking client: every call of the protocol as a method."""

import random
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from msgspec import UNSET

from aftercommit import wire
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.clients import batches, calls, loads
from aftercommit.sdk.clients.answers import BatchResult, Response
from aftercommit.sdk.clients.blocking_gathering import BlockingGatherings
from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.clients.courier import Courier
from aftercommit.sdk.clients.exchange import DEFAULT_URL, RETRIES_MAX, TIMEOUT_SECONDS, Line, Request
from aftercommit.sdk.clients.gathering import Parcel
from aftercommit.sdk.clients.operator import OperatorCalls
from aftercommit.sdk.clients.transacting import ConfirmMode, FallbackMode, TransactionCalls, Transactions
from aftercommit.sdk.errors import Unavailable, Unreachable
from aftercommit.sdk.messages import MessageOptions, PulledMessage, new_message
from aftercommit.sdk.transactions.points import Probe, no_probe
from aftercommit.sdk.transports.http_transport import HttpTransport
from aftercommit.sdk.transports.port import Transport

T = TypeVar("T")


class Client(OperatorCalls, TransactionCalls):
    """A client of one AfterCommit service. Safe to share between threads; close it, or use it in a `with`.

    Share it: calls of one verb that several threads make at the same time travel together, in one batch request, and
    each gets its own answer or error. A call that is alone goes at once, by itself. A process that forked may go on
    using it: it has connections of its own, and waits for none of its parent's threads.

    Every method raises `Refused` (and its kinds) if the service says no, `Unavailable` if it cannot now, `Unreachable`
    if no answer came, `Unexpected` if the answer is not the protocol's. Before the two in the middle are raised, the
    call was repeated up to `retries_max` times within `timeout_seconds` in all, with the same bytes and the same id.

        with Client("http://127.0.0.1:8340", app="orders") as client:
            message = client.prepare("orders.created", {"order": 42}, key="42")
            ...                                     # the local transaction commits
            client.confirm(message.id)
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
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
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
        self._transport: Transport = HttpTransport() if transport is None else transport
        self._sleep = sleep
        self._courier = Courier(self._line, send=self._send, sleep=self._pause)
        if batching:
            self._courier.gather = BlockingGatherings(self._carry, self._courier.late, clock).gather
        self.probe = probe
        self._transactions = Transactions(self, confirm=confirm, fallback=fallback)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._line.base_url!r}, app={self._line.app!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Confirm what waits in the background, then close the connections. May be called twice."""
        self._transactions.close()
        self._transport.close()

    # Initiators.

    def prepare(self, topic: str, payload: Any = UNSET, **options: Unpack[MessageOptions]) -> wire.MessageStatus:
        """Store a message; it is delivered once confirmed. Commit the local transaction only after this returned.

        `payload` is any JSON value, or bytes; the options are those of `MessageOptions`. Returns `id` and `status`,
        which is the present one if this id was prepared before. Raises `RolledBack` if it was rolled back since,
        `IdConflict` if the id has other content, `Invalid` for a field that is wrong.

            client.prepare("orders.created", {"order": 42}, key="42", check_after_seconds=30)
            client.prepare("logs", b"\\x00\\x01", confirmed=True)        # a plain publish
        """
        return run_now(self._courier.one(loads.prepare(new_message(topic, payload, options))))

    def confirm(self, message_id: str) -> wire.MessageStatus:
        """Say that the local transaction committed. Repeating it is harmless. Raises `RolledBack`, `NotFound`."""
        return run_now(self._courier.one(loads.confirm(message_id)))

    def cancel(self, message_id: str, reason: str | None = None) -> wire.MessageStatus:
        """Say that the local transaction can never commit. Raises `AlreadyConfirmed`.

        An id the service never heard of is remembered as rolled back, so that a prepare still under way is refused.
        """
        return run_now(self._courier.one(loads.cancel(message_id, reason)))

    # Consumers.

    def complete(self, message_id: str, subscription: str | None = None) -> wire.MessageStatus:
        """Report that a message was processed. `subscription` may be left out if only one of its is yours.

        `NotFound` and `Conflict` are final: acknowledge the broker's copy all the same.
        """
        return run_now(self._courier.one(loads.complete(message_id, subscription)))

    def fail(self, message_id: str, reason: str, subscription: str | None = None) -> wire.MessageStatus:
        """Refuse a message for good; it is not delivered again. For "try again", report nothing."""
        return run_now(self._courier.one(loads.fail(message_id, reason, subscription)))

    def pull(
        self,
        topic: str,
        subscription: str,
        max: int = 1,  # noqa: A002 - the protocol's word
        wait_seconds: float = 0,
    ) -> list[PulledMessage]:
        """Fetch up to `max` (1 to 100) due messages from the built-in broker, waiting up to 30 s for the first.

        Each counts an attempt, and is hidden until it is reported or its redelivery time has come.

            for message in client.pull("orders.created", "billing", max=10, wait_seconds=20):
                bill(message.json())
                client.complete(message.id, "billing")
        """
        return self._run(calls.pull(topic, subscription, max, wait_seconds)).messages

    # Batches: any number of items, split into requests of at most 1,000 items and 8 MiB, sent one after the other, and
    # shared with what other threads have to say at the same time.
    # One result per item, in order; an item that was refused is a result with an `error`. What is raised concerns a
    # whole request: repeat the batch, what was done already is answered as done.

    def prepare_batch(self, messages: Iterable[wire.PrepareRequest]) -> list[BatchResult]:
        """Prepare messages made by `new_message`, for example:

        results = client.prepare_batch([new_message("orders.created", {"order": n}) for n in range(3)])
        """
        return run_now(self._courier.many(batches.prepare(messages)))

    def confirm_batch(self, message_ids: Iterable[str]) -> list[BatchResult]:
        """Confirm messages."""
        return run_now(self._courier.many(batches.confirm(message_ids)))

    def cancel_batch(self, items: Iterable[str | wire.CancelItem], reason: str | None = None) -> list[BatchResult]:
        """Cancel messages; `reason` goes with every plain id."""
        return run_now(self._courier.many(batches.cancel(items, reason)))

    def complete_batch(
        self, items: Iterable[str | wire.CompleteItem], subscription: str | None = None
    ) -> list[BatchResult]:
        """Report messages complete; `subscription` goes with every plain id."""
        return run_now(self._courier.many(batches.complete(items, subscription)))

    def fail_batch(
        self, items: Iterable[str | wire.FailItem], reason: str | None = None, subscription: str | None = None
    ) -> list[BatchResult]:
        """Refuse messages for good; `reason` and `subscription` go with every plain id."""
        return run_now(self._courier.many(batches.fail(items, reason, subscription)))

    def status_batch(self, message_ids: Iterable[str]) -> list[BatchResult]:
        """Read the statuses of messages; an unknown one is a result with `NotFound`."""
        return run_now(self._courier.many(batches.status(message_ids)))

    def ready(self) -> bool:
        """Whether the service answers and can do its work. Asked once, without repeats."""
        try:
            self._run(calls.ready(), retries_max=0)
        except (Unavailable, Unreachable):
            return False
        return True

    def _run(self, call: Call[T], retries_max: int | None = None) -> T:
        return run_now(self._courier.make(call, retries_max))

    def _carry(self, parcel: Parcel) -> None:
        run_now(self._courier.carry(parcel))

    # The courier's ports: awaitable in form, and blocking.

    async def _send(self, request: Request) -> Response:
        return self._transport.send(request)

    async def _pause(self, seconds: float) -> None:
        self._sleep(seconds)
