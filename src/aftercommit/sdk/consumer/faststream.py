"""FastStream handlers inside the inbox: a middleware that works once, reports, and only then acknowledges.

What is used of FastStream is public and documented, but for these, which are plain attributes of its subscribers and
messages: `ack_policy`, `stream_sub`, `consumer.config`, `stream`, `config`, `extra_options` (to look for options that
lose messages), and the field `__data__` of its entries in Redis streams.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias

from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.faststream_safety import LossySubscriber, require_safe
from aftercommit.sdk.consumer.inbox import AsyncInbox
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from aftercommit.sdk.transactions.transaction import AsyncTransaction

try:
    from faststream import BaseMiddleware, Context
    from faststream.exceptions import AckMessage, StopConsume
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The middleware needs FastStream: pip install 'aftercommit[rabbitmq]' (or kafka, nats, redis).", name=error.name
    ) from error

__all__ = ["InboxMiddleware", "LossySubscriber", "Received", "Tx", "require_safe"]

_ID: Final = "aftercommit-id"
_TRANSACTION: Final = "aftercommit_transaction"
_DELIVERY: Final = "aftercommit_delivery"
# Where FastStream keeps a message within an entry of a Redis stream; the service writes plain fields.
_REDIS_FIELD: Final = b"__data__"

# The arguments of a handler: the transaction of its inbox, and the delivery with its id, attempt and headers.
Tx: TypeAlias = Annotated[AsyncTransaction, Context(_TRANSACTION)]
Received: TypeAlias = Annotated[Delivery, Context(_DELIVERY)]


class InboxMiddleware:
    """Runs every handler of a broker, or of a router, that gets a message of AfterCommit inside `inbox`.

    The handler is an ordinary one. It returns (completed), or returns or raises `Fail` or `RetryLater`; any other
    exception, FastStream's own AckMessage and the like included, undoes the work, and the service delivers again. A
    duplicate and a redelivery for another subscription do not reach the handler, nor what it would have published with
    FastStream: publish with `tx.publish`, which is part of the transaction. The broker's copy is acknowledged after
    all that, whatever came of it. Other messages pass untouched.

    One inbox is one subscription: give routers for different subscriptions different middlewares. Subscribers need an
    `ack_policy` that loses nothing, which FastStream's default does not do; see `require_safe`.

        inbox = AsyncInbox(client, async_sessionmaker(engine), subscription="stock")
        broker = RabbitBroker(url, middlewares=[InboxMiddleware(inbox)], ack_policy=AckPolicy.NACK_ON_ERROR)

        @broker.subscriber(RabbitQueue("aftercommit.orders.created.stock", declare=False))
        async def reserve(order: Order, tx: Tx) -> None:
            tx.session.add(Reservation(order=order.number))
    """

    def __init__(self, inbox: AsyncInbox) -> None:
        """Raises TypeError for anything but an AsyncInbox: FastStream runs on asyncio."""
        if not isinstance(inbox, AsyncInbox):
            raise TypeError(f"InboxMiddleware needs an AsyncInbox, not {type(inbox).__name__}.")
        self._inbox = inbox

    def __call__(self, msg: Any, /, *, context: Any) -> "BaseMiddleware[Any, Any]":
        """What FastStream calls for each message."""
        return _Receiving(msg, context=context, inbox=self._inbox)


class _Receiving(BaseMiddleware[Any, Any]):
    """One message on its way."""

    def __init__(self, msg: Any, /, *, context: Any, inbox: AsyncInbox) -> None:
        super().__init__(msg, context=context)
        self._inbox = inbox
        # What the service wrote into a Redis stream; FastStream adds headers of its own to it.
        self._fields: dict[str, bytes] | None = None

    async def on_receive(self) -> None:
        """Lay a message of the service in a Redis stream out as FastStream reads it."""
        entry = self.msg.get("data") if isinstance(self.msg, dict) and self.msg.get("type") == "stream" else None
        if isinstance(entry, dict) and _ID.encode() in entry and _REDIS_FIELD not in entry:
            self._fields = {name.decode(): value for name, value in entry.items() if name != b"body"}
            entry[_REDIS_FIELD] = await _redis_envelope(self._fields, entry.get(b"body", b""))

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
        """Receive, then acknowledge."""
        if not _is_ours(msg):
            return await call_next(msg)
        await self._refuse_if_lossy(msg)
        headers: Mapping[str, Any] = self._fields or {"content-type": msg.content_type or "", **msg.headers}
        delivery = Delivery.received(headers, msg.body)
        returned: list[Any] = []
        stops: list[StopConsume] = []

        async def work(given: Delivery, transaction: Any) -> Fail | RetryLater | None:
            with self.context.scope(_TRANSACTION, transaction), self.context.scope(_DELIVERY, given):
                try:
                    result = await call_next(msg)
                except StopConsume as stop:
                    stops.append(stop)
                    raise
            if isinstance(result, Fail | RetryLater):
                return result
            returned.append(result)
            return None

        receipt = await self._inbox.receive(delivery, work)
        await msg.ack()
        if stops:
            raise stops[0]
        if receipt is Receipt.COMPLETED:
            return returned[0]
        # There is no result to publish: it is acknowledged, and FastStream is done with it.
        raise AckMessage

    async def _refuse_if_lossy(self, msg: Any) -> None:
        try:
            require_safe(self.context.get_local("handler_"))
            if msg.batch_headers:
                raise LossySubscriber("A batch has one acknowledgement for many messages; use batch=False.")
        except LossySubscriber:
            # Back to the broker, before FastStream does with it what it must not do.
            await msg.nack()
            raise


def _is_ours(msg: Any) -> bool:
    """Also of a batch, which is refused then."""
    return any(_ID in headers for headers in (msg.headers, *msg.batch_headers))


async def _redis_envelope(fields: dict[str, bytes], body: bytes) -> bytes:
    # Late, because it needs Redis' client; who gets here has it.
    from faststream.redis import BinaryMessageFormatV1  # noqa: PLC0415

    # The values stay bytes: FastStream counts characters of text, and writes bytes.
    return await BinaryMessageFormatV1.encode(
        message=body, reply_to=None, headers=fields, correlation_id=fields[_ID].decode()
    )
