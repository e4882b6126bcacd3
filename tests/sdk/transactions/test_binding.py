"""Publishing with a SQLAlchemy session whose commit is the user's own."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from aftercommit.sdk.messages import new_id
from aftercommit.sdk.transactions.binding import AwaitingService, Binding
from aftercommit.sdk.transactions.points import no_probe
from aftercommit.sdk.transactions.transaction_errors import NotPrepared, RuledOut
from tests.sdk.transactions.recorder import Recorder, unreachable


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """An engine on the file."""
    made = create_engine(f"sqlite:///{path}")
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """The user's session."""
    with Session(engine) as made:
        yield made


def bind(service: Recorder, session: Session) -> Binding:
    return Binding(service, session, probe=no_probe, confirm_later=None)


def insert(session: Session, number: int) -> None:
    session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})


def count(other, table: str) -> int:
    (number,) = other.execute(f"SELECT count(*) FROM {table}").fetchone()
    return number


def test_the_users_commit_prepares_marks_commits_and_confirms(service, session, other):
    bound = bind(service, session)
    insert(session, 1)
    first = bound.publish("orders.created", {"order": 1})
    assert service.told == []
    session.commit()
    assert service.told == [("prepare", (first,)), ("confirm", (first,))]
    insert(session, 2)
    second = bound.publish("orders.created", {"order": 2})
    session.commit()
    assert service.told[2:] == [("prepare", (second,)), ("confirm", (second,))]
    assert count(other, "aftercommit_outcome") == count(other, "orders") == 2


def test_the_users_rollback_forgets_what_was_published(service, session, other):
    bound = bind(service, session)
    insert(session, 1)
    bound.publish("orders.created", {})
    session.rollback()
    insert(session, 2)
    session.commit()
    assert service.told == []
    assert count(other, "orders") == 1


def test_a_session_that_begins_with_publishing_publishes(service, session):
    bound = bind(service, session)
    bound.publish("orders.created", {})
    session.commit()
    assert service.verbs == ["prepare", "confirm"]


def test_a_savepoint_takes_its_messages_back(service, session):
    bound = bind(service, session)
    insert(session, 1)
    kept = bound.publish("orders.created", {})
    with suppress(IntegrityError), session.begin_nested():
        bound.publish("orders.created", {})
        insert(session, 1)
    with session.begin_nested():
        inner = bound.publish("orders.created", {})
    assert service.told == []
    session.commit()
    assert service.ids("prepare") == [kept, inner]


def test_a_commit_without_its_prepare_is_refused_until_the_session_is_rolled_back(service, session, other):
    bound = bind(service, session)
    insert(session, 1)
    message_id = bound.publish("orders.created", {})
    service.answers["prepare"] = unreachable()
    with pytest.raises(NotPrepared):
        session.commit()
    session.rollback()
    assert count(other, "orders") == 0
    assert service.told == [("prepare", (message_id,)), ("cancel", (message_id,))]
    assert other.execute("SELECT outcome FROM aftercommit_outcome").fetchall() == [("rolled_back",)]


def test_a_check_that_came_first_refuses_the_commit(service, session, other):
    message_id = new_id()
    other.execute("INSERT INTO aftercommit_outcome VALUES (?, 'rolled_back', '')", [message_id])
    bound = bind(service, session)
    insert(session, 1)
    bound.publish("orders.created", {}, id=message_id)
    with pytest.raises(RuledOut):
        session.commit()
    with pytest.raises(RuledOut):
        session.commit()
    session.rollback()
    assert count(other, "orders") == 0


def test_a_flush_that_fails_comes_before_any_prepare(service, session):
    bound = bind(service, session)
    insert(session, 1)
    bound.publish("orders.created", {})
    with pytest.raises(IntegrityError):
        insert(session, 1)
    session.rollback()
    assert service.told == []


def test_a_closed_binding_leaves_the_session_alone(service, session):
    bound = bind(service, session)
    bound.publish("orders.created", {})
    bound.close()
    bound.close()
    insert(session, 1)
    session.commit()
    assert service.told == []


async def test_the_commit_of_a_session_for_asyncio_does_the_same(service, path, other):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    async with AsyncSession(engine) as session:
        bound = Binding(AwaitingService(service), session.sync_session, probe=no_probe, confirm_later=None)
        await session.execute(text("INSERT INTO orders VALUES (1)"))
        message_id = bound.publish("orders.created", {"order": 1})
        await session.commit()
        await session.execute(text("INSERT INTO orders VALUES (2)"))
        bound.publish("orders.created", {"order": 2})
        service.answers["prepare"] = unreachable()
        with pytest.raises(NotPrepared):
            await session.commit()
        await session.rollback()
    await engine.dispose()
    assert service.told[:2] == [("prepare", (message_id,)), ("confirm", (message_id,))]
    assert service.verbs == ["prepare", "confirm", "prepare", "cancel"]
    assert count(other, "orders") == 1
