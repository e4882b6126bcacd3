"""A consumer: FastStream on NATS, with a database of its own. The node delivers to NATS: `--broker nats://...`.

pip install 'aftercommit[nats,postgres,sqlalchemy]'
python stock.py
"""

import asyncio
import os

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aftercommit.sdk import AsyncClient, AsyncInbox, tables
from aftercommit.sdk.consumer.faststream import InboxMiddleware, Tx, require_safe


class Base(DeclarativeBase):
    """Our tables, and beside them the SDK's."""


class Reservation(Base):
    """What is set aside for an order."""

    __tablename__ = "reservations"
    number: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[int]


class OrderCreated(BaseModel):
    """The message."""

    order: int


tables.declare(Base.metadata)
engine = create_async_engine(os.environ.get("STOCK_DATABASE", "postgresql+asyncpg://localhost/stock"))
client = AsyncClient(os.environ.get("AFTERCOMMIT_URL", "http://127.0.0.1:8340"), app="stock")
inbox = AsyncInbox(client, async_sessionmaker(engine), subscription="stock")

broker = NatsBroker(
    os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
    middlewares=[InboxMiddleware(inbox)],
    # FastStream's default gives up a message whose handler failed.
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
app = FastStream(broker)


@broker.subscriber(
    "aftercommit.orders.created",
    stream=JStream("AFTERCOMMIT", declare=False),
    durable="orders_created__stock",
    pull_sub=PullSub(batch_size=10, timeout=0.5),
)
async def reserve(order: OrderCreated, tx: Tx) -> None:
    """Set the goods aside: once, however often the message comes."""
    tx.session.add(Reservation(order=order.order))


@app.on_startup
async def prepare() -> None:
    """Make the tables (a real service has migrations), and refuse subscribers that would lose messages."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    require_safe(*broker.subscribers)


@app.after_shutdown
async def close() -> None:
    """Let go of everything."""
    await client.close()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(app.run())
