"""An initiator: FastAPI and SQLAlchemy for asyncio on PostgreSQL.

pip install 'aftercommit[fastapi,postgres,sqlalchemy]' uvicorn
uvicorn orders:app --port 9000
curl -X POST localhost:9000/orders -H 'content-type: application/json' -d '{"number": 42}'
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aftercommit.sdk import AsyncBarrier, AsyncClient, CheckResponder, tables
from aftercommit.sdk.checkback.fastapi import check_router
from aftercommit.wire import SubscriptionRequest

OWN_URL = os.environ.get("ORDERS_URL", "http://127.0.0.1:9000")


class Base(DeclarativeBase):
    """Our tables, and beside them the SDK's."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


class NewOrder(BaseModel):
    """What a customer sends."""

    number: int


tables.declare(Base.metadata, inbox=False, outbox=False)
engine = create_async_engine(os.environ.get("ORDERS_DATABASE", "postgresql+asyncpg://localhost/orders"))
Session = async_sessionmaker(engine)
client = AsyncClient(os.environ.get("AFTERCOMMIT_URL", "http://127.0.0.1:8340"), app="orders")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables (a real service has migrations), the topic, and say where to ask."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await client.put_topic("orders.created", subscriptions=[SubscriptionRequest(name="stock", app="stock")])
    await client.put_app("orders", check_url=f"{OWN_URL}/aftercommit/checks")
    yield
    await client.close()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
# A node without keys asks unsigned; elsewhere: secrets=[os.environ["AFTERCOMMIT_SECRET"]].
app.include_router(check_router(CheckResponder(AsyncBarrier(engine), secrets=())))


@app.post("/orders", status_code=201)
async def place_order(order: NewOrder) -> NewOrder:
    """Write the order and publish it, both or neither.

    The transaction ends here and not in a dependency, whose exit may run after the customer was told 201.
    """
    async with Session() as session, client.transaction(session) as tx:
        session.add(Order(number=order.number))
        tx.publish("orders.created", {"order": order.number}, key=str(order.number))
    return order
