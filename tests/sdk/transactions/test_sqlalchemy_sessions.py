"""A Session with mapped objects: flushes, savepoints and what ends inside the block."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.transactions.transaction import Transaction
from aftercommit.sdk.transactions.transaction_errors import TransactionEnded
from tests.sdk.transactions.recorder import Recorder


class Base(DeclarativeBase):
    """The user's tables."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """An engine on the file."""
    made = create_engine(f"sqlite:///{path}")
    yield made
    made.dispose()


def transaction(service: Recorder, session: Session) -> Transaction:
    return Transaction(service, handle_of(session))


def numbers(other) -> list[int]:
    return [number for (number,) in other.execute("SELECT number FROM orders ORDER BY number")]


def test_a_flush_inside_the_block_ends_nothing(service, engine, other):
    with Session(engine) as session, transaction(service, session) as tx:
        tx.publish("orders.created", {})
        session.add(Order(number=1))
        session.flush()
        tx.publish("orders.created", {})
        session.add(Order(number=2))
    assert len(service.ids("confirm")) == 2
    assert numbers(other) == [1, 2]


def test_a_flush_that_fails_comes_before_any_prepare(service, engine, other):
    other.execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(IntegrityError), Session(engine) as session, transaction(service, session) as tx:
        session.add(Order(number=1))
        tx.publish("orders.created", {})
    assert service.told == []


def test_objects_of_a_savepoint_that_fails_take_their_messages_along(service, engine, other):
    with Session(engine) as session, transaction(service, session) as tx:
        session.add(Order(number=1))
        kept = tx.publish("orders.created", {"order": 1})
        with suppress(KeyError), session.begin_nested():
            session.add(Order(number=2))
            session.flush()
            tx.publish("orders.created", {"order": 2})
            raise KeyError
        with session.begin_nested():
            session.add(Order(number=3))
            with suppress(KeyError), session.begin_nested():
                tx.publish("orders.created", {"order": 4})
                raise KeyError
            inner = tx.publish("orders.created", {"order": 3})
    assert service.ids("confirm") == [kept, inner]
    assert numbers(other) == [1, 3]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_session_that_is_ended_inside_the_block_publishes_nothing(service, engine, end):
    with pytest.raises(TransactionEnded), Session(engine) as session, transaction(service, session) as tx:
        session.add(Order(number=1))
        tx.publish("orders.created", {})
        getattr(session, end)()
        session.add(Order(number=2))
    assert service.told == []


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_session_that_is_ended_by_a_statement_inside_the_block_publishes_nothing(service, engine, end):
    with pytest.raises(TransactionEnded), Session(engine) as session, transaction(service, session) as tx:
        session.add(Order(number=1))
        tx.publish("orders.created", {})
        session.flush()
        session.execute(text(end))
        session.add(Order(number=2))
    assert service.told == []


def test_a_savepoint_by_hand_on_a_connection_takes_its_messages_back(service, engine):
    with engine.connect() as connection, Transaction(service, handle_of(connection)) as tx:
        kept = tx.publish("orders.created", {})
        connection.execute(text("SAVEPOINT mine"))
        tx.publish("orders.created", {})
        connection.execute(text("ROLLBACK TO SAVEPOINT mine"))
        with suppress(KeyError), connection.begin_nested():
            tx.publish("orders.created", {})
            raise KeyError
    assert service.ids("confirm") == [kept]


def test_inside_a_savepoint_or_in_autocommit_a_transaction_is_refused(service, engine):
    with Session(engine) as session:
        session.begin_nested()
        with pytest.raises(Misused, match="savepoint"), transaction(service, session):
            pass
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(Misused, match="AUTOCOMMIT"),
        Transaction(service, handle_of(connection)),
    ):
        pass


def test_a_session_that_began_by_itself_may_be_committed_by_the_block(service, engine, other):
    with Session(engine) as session:
        session.add(Order(number=1))
        session.flush()
        with transaction(service, session) as tx:
            session.add(Order(number=2))
            tx.publish("orders.created", {})
        assert not session.in_transaction()
        session.add(Order(number=3))
        session.commit()
    assert numbers(other) == [1, 2, 3]
    assert service.verbs == ["prepare", "confirm"]
