"""Consumers as users write them: orders into a SQLite file, once each, by threads and by tasks."""

import asyncio
import os
import sqlite3
import time
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aftercommit.sdk.clients.async_client import AsyncClient
from aftercommit.sdk.clients.client import Client
from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.receipts import Fail, RetryLater

FOLDER = Path(os.environ["SHOP_FOLDER"])
DATABASE = FOLDER / "stock.db"
URL, TOPIC = os.environ["SHOP_URL"], os.environ["SHOP_TOPIC"]
LOOK_AGAIN_SECONDS = 0.02
INSERT = "INSERT INTO orders VALUES (:id, :number, :attempt)"

consumer = Consumer(Client(URL, app="stock"), lambda: sqlite3.connect(DATABASE, timeout=20))
engine = create_async_engine(f"sqlite+aiosqlite:///{DATABASE}", connect_args={"timeout": 20})
async_consumer = AsyncConsumer(AsyncClient(URL, app="stock"), engine)
idle = Consumer(Client(URL, app="stock"))


def answer(say: str, attempt: int) -> Fail | RetryLater | None:
    match say:
        case "fail":
            return Fail("there is no such item")
        case "later" if attempt == 1:
            return RetryLater("not now")
    return None


@consumer.on(TOPIC, "stock", concurrency=3)
def reserve(delivery, tx):
    order = delivery.json()
    tx.session.execute(INSERT, {"id": delivery.id, "number": order["order"], "attempt": delivery.attempt})
    if order["say"] == "slow":
        (FOLDER / "begun").touch()
        while not (FOLDER / "go").exists():
            time.sleep(LOOK_AGAIN_SECONDS)
    return answer(order["say"], delivery.attempt)


@async_consumer.on(TOPIC, "stock", concurrency=3)
async def reserve_async(delivery, tx):
    order = delivery.json()
    row = {"id": delivery.id, "number": order["order"], "attempt": delivery.attempt}
    await tx.session.execute(text(INSERT), row)
    if order["say"] == "slow":
        (FOLDER / "begun").touch()
        while not (FOLDER / "go").exists():  # noqa: ASYNC110 - a file is what another process can lay down
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return answer(order["say"], delivery.attempt)


@async_consumer.on(f"{TOPIC}.mails", "mails")
async def mail(delivery, tx):
    await tx.session.execute(text(INSERT), {"id": delivery.id, "number": 0, "attempt": delivery.attempt})
