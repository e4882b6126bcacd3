"""A consumer with a database of its own. Run it with `aftercommit worker stock:consumer`."""

import os
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from aftercommit.sdk import Client, Consumer, Delivery, tables


class Base(DeclarativeBase):
    """Our tables, and beside them the SDK's."""


class Reservation(Base):
    """What is set aside for an order."""

    __tablename__ = "reservations"
    number: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[int]


tables.declare(Base.metadata)
engine = create_engine(os.environ.get("STOCK_DATABASE", "sqlite:///stock.db"))
Base.metadata.create_all(engine)

client = Client(os.environ.get("AFTERCOMMIT_URL", "http://127.0.0.1:8340"), app="stock")
consumer = Consumer(client, sessionmaker(engine))


@consumer.on("orders.created", subscription="stock", concurrency=1)
def reserve(delivery: Delivery, tx: Any) -> None:
    """Set the goods aside: once, however often the message comes."""
    tx.session.add(Reservation(order=delivery.json()["order"]))
