"""A program that somebody could have written: the names that examples in docstrings use and do not make.

There is a real node behind `client`, and a real SQLite file with the SDK's tables behind everything of databases. Only
what is somebody else's and plays no part is made up: their business, and packages we do not install.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import aiosqlite
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from aftercommit import sdk
from aftercommit.sdk import tables
from aftercommit.signatures import new_secret
from tests.typing.consuming import RecordingAsyncConsumer, RecordingConsumer

Names = dict[str, Any]

SECRET: Final = new_secret(b"an example of some secret")
TOPIC: Final = "orders.created"


class Base(DeclarativeBase):
    """Whose metadata has the SDK's tables."""


class Order(Base):
    """What the initiator writes."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


class Reservation(Base):
    """What the consumer writes."""

    __tablename__ = "reservations"
    id: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[int]


tables.declare(Base.metadata)


class OutOfStock(Exception):
    """Somebody's own."""


@contextmanager
def blocking_world(client: sdk.Client, folder: Path) -> Iterator[Names]:
    """The names of a program with blocking drivers."""
    with ExitStack() as stack:
        path = _database(folder)
        engine = create_engine(f"sqlite:///{path}")
        stack.callback(engine.dispose)
        maker = sessionmaker(engine)
        connection = sqlite3.connect(path)
        stack.callback(connection.close)
        responder = sdk.CheckResponder(sdk.Barrier(engine), secrets=[SECRET])
        names = _shared(client)
        names |= {
            "client": client,
            "closing": stack,
            "connection": connection,
            "consumer": RecordingConsumer(client, maker),
            "Consumer": RecordingConsumer,
            "engine": engine,
            "inbox": sdk.Inbox(client, maker, subscription="stock"),
            "place_order": lambda unit: _place_order(names, unit),
            # A driver that we need no server for; the SDK goes by the class of the connection.
            "psycopg": SimpleNamespace(connect=lambda _dsn: sqlite3.connect(path)),
            "responder": responder,
            "session": stack.enter_context(maker()),
            "Session": maker,
        }
        yield names


@asynccontextmanager
async def awaiting_world(client: sdk.AsyncClient, blocking: sdk.Client, folder: Path) -> AsyncIterator[Names]:
    """The names of a program on asyncio; `blocking` is a client to prepare it with."""
    async with AsyncExitStack() as stack:
        path = _database(folder)
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        stack.push_async_callback(engine.dispose)
        maker = async_sessionmaker(engine)
        yield _shared(blocking) | {
            "async_engine": engine,
            "asyncio": asyncio,
            "async_sessionmaker": async_sessionmaker,
            "AsyncConsumer": RecordingAsyncConsumer,
            "AsyncSession": AsyncSession,
            "client": client,
            "connection": await stack.enter_async_context(aiosqlite.connect(path)),
            "consumer": RecordingAsyncConsumer(client, maker),
            "engine": engine,
            "inbox": sdk.AsyncInbox(client, maker, subscription="stock"),
            "responder": sdk.CheckResponder(sdk.AsyncBarrier(engine), secrets=[SECRET]),
            "session": await stack.enter_async_context(maker()),
        }


def _database(folder: Path) -> Path:
    path = folder / "examples.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


def _shared(client: sdk.Client) -> Names:
    client.put_topic(TOPIC, subscriptions=["billing", "stock"])
    # One that may be pulled, so that no example waits for it, and one that may be confirmed.
    confirmed = client.prepare(TOPIC, {"order": 41}, confirmed=True)
    message = client.prepare(TOPIC, {"order": 42})
    headers = {"aftercommit-id": confirmed.id, "aftercommit-topic": TOPIC, "content-type": "application/json"}
    body = b'{"order": 41}'
    return {
        **{name: getattr(sdk, name) for name in sdk.__all__},
        "__name__": __name__,
        **dict.fromkeys(("alert", "bill", "pay", "reserve", "ship"), _does_nothing),
        "body": body,
        "delivery": sdk.Delivery.received(headers, body),
        "dsn": "",
        "item": 42,
        "message": SimpleNamespace(id=message.id, headers=headers, body=body),
        "message_id": message.id,
        "message_ids": [message.id],
        "OperationalError": OperationalError,
        "Order": Order,
        "orders": SimpleNamespace(find=lambda _key: SimpleNamespace(closed=True, paid=True)),
        "OutOfStock": OutOfStock,
        "properties": SimpleNamespace(headers=headers),
        "Reservation": Reservation,
        "secret": SECRET,
        "suppress": suppress,
        # One attempt is all that is needed.
        "stamina": SimpleNamespace(retry_context=lambda on: [nullcontext(on)]),
        "yesterday": datetime.now(UTC) - timedelta(days=1),
    }


def _place_order(names: Names, unit: sdk.Unit) -> None:
    with names["Session"]() as session, names["client"].transaction(session, unit=unit) as tx:
        session.add(Order(number=42))
        tx.publish(TOPIC, {"order": 42})


def _does_nothing(*_given: Any, **_named: Any) -> None:
    """Somebody's business."""
