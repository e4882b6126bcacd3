"""Blocks and handlers that break their own transaction: a second engine, and errors of the database they swallow."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from aftercommit.sdk.consumer.delivery import Delivery
from aftercommit.sdk.consumer.inbox import Inbox
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.messages import new_id
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """An engine on the file."""
    made = create_engine(f"sqlite:///{path}")
    yield made
    made.dispose()


@pytest.fixture
def second_path(tmp_path: Path) -> Path:
    """Another database, with a table of its own."""
    made = tmp_path / "second.db"
    engine = create_engine(f"sqlite:///{made}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE stock (item INTEGER)"))
    engine.dispose()
    return made


@pytest.fixture
def second(second_path: Path) -> Iterator[Engine]:
    """An engine on it."""
    made = create_engine(f"sqlite:///{second_path}")
    yield made
    made.dispose()


def stock(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM stock")).scalar_one()


def orders(other) -> list[int]:
    return [number for (number,) in other.execute("SELECT number FROM orders ORDER BY number")]


@pytest.mark.parametrize("before", [True, False], ids=["before the block", "inside the block"])
def test_a_session_that_writes_to_a_second_engine_is_rolled_back_on_both(service, engine, second, other, before):
    def take() -> None:
        session.execute(text("INSERT INTO stock VALUES (1)"), bind_arguments={"bind": second})

    with Session(engine) as session:
        if before:
            take()
        with pytest.raises(Misused, match="more than one"), Transaction(service, handle_of(session)) as tx:
            session.execute(text("INSERT INTO orders VALUES (1)"))
            if not before:
                take()
            tx.publish("orders.created", {})
        assert not session.in_transaction()
    assert service.told == []
    assert orders(other) == []
    assert stock(second) == 0


def test_a_session_may_use_one_engine_after_the_other(service, engine, second, other):
    with Session(engine) as session:
        session.execute(text("INSERT INTO stock VALUES (1)"), bind_arguments={"bind": second})
        session.commit()
        with Transaction(service, handle_of(session)) as tx:
            session.execute(text("INSERT INTO orders VALUES (1)"))
            with session.begin_nested():
                session.execute(text("INSERT INTO orders VALUES (2)"))
            tx.publish("orders.created", {})
    assert service.verbs == ["prepare", "confirm"]
    assert orders(other) == [1, 2]


async def test_a_session_for_asyncio_that_writes_to_a_second_engine_is_rolled_back(
    service, path, second_path, second, other
):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    another = create_async_engine(f"sqlite+aiosqlite:///{second_path}")
    async with AsyncSession(engine) as session:
        with pytest.raises(Misused, match="more than one"):
            async with AsyncTransaction(service, handle_of(session)) as tx:
                await session.execute(text("INSERT INTO orders VALUES (1)"))
                await session.execute(
                    text("INSERT INTO stock VALUES (1)"), bind_arguments={"bind": another.sync_engine}
                )
                tx.publish("orders.created", {})
    await engine.dispose()
    await another.dispose()
    assert service.told == []
    assert orders(other) == []
    assert stock(second) == 0


def test_a_session_without_autobegin_can_carry_a_transaction(service, engine, other):
    with Session(engine, autobegin=False) as session, Transaction(service, handle_of(session)) as tx:
        session.execute(text("INSERT INTO orders VALUES (1)"))
        tx.publish("orders.created", {})
    assert service.verbs == ["prepare", "confirm"]
    assert orders(other) == [1]


def test_work_that_swallows_what_rolled_it_back_is_not_taken_for_done(service, engine, other):
    other.execute("INSERT INTO orders VALUES (1)")
    inbox = Inbox(service, sessionmaker(engine), subscription="stock")

    def work(_delivery, tx):
        with suppress(IntegrityError):
            # SQLite rolls the whole transaction back, as MySQL does after a deadlock; SQLAlchemy does not notice.
            tx.session.execute(text("INSERT OR ROLLBACK INTO orders VALUES (1)"))
        tx.session.execute(text("INSERT INTO orders VALUES (2)"))

    delivery = Delivery(id=new_id(), topic="orders.created", body=b"{}")
    assert inbox.receive(delivery, work) is Receipt.RETRY_LATER
    assert service.told == []
    assert orders(other) == [1]
    assert inbox.receive(delivery, lambda *_: None) is Receipt.COMPLETED
