"""The many ways in which a session that publishes can begin and end; none loses a message or invents one."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from aftercommit.sdk.clients.transacting import AsyncTransactions
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.messages import new_id
from aftercommit.sdk.transactions.binding import Binding
from aftercommit.sdk.transactions.points import no_probe
from aftercommit.sdk.transactions.transaction_errors import RuledOut, TransactionEnded
from tests.sdk.transactions.recorder import AwaitedRecorder, Recorder


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """An engine on the file."""
    made = create_engine(f"sqlite:///{path}")
    yield made
    made.dispose()


def bind(service: Recorder, session: Session | scoped_session[Session]) -> Binding:
    return Binding(service, session, probe=no_probe, confirm_later=None)


def insert(session: Session | scoped_session[Session], number: int) -> None:
    session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})


def orders(other) -> list[int]:
    return [number for (number,) in other.execute("SELECT number FROM orders ORDER BY number")]


def test_a_begin_block_commits_what_was_published_in_it(service, engine, other):
    with sessionmaker(engine).begin() as session:
        bound = bind(service, session)
        insert(session, 1)
        message_id = bound.publish("orders.created", {})
    assert service.told == [("prepare", (message_id,)), ("confirm", (message_id,))]
    assert orders(other) == [1]


def test_a_session_without_autobegin_commits_what_was_published_in_it(service, engine, other):
    with Session(engine, autobegin=False) as session:
        bound = bind(service, session)
        with session.begin():
            insert(session, 1)
            bound.publish("orders.created", {})
    assert service.verbs == ["prepare", "confirm"]


@pytest.mark.parametrize("levels", [1, 2])
def test_a_commit_over_savepoints_that_are_still_open_publishes(service, engine, other, levels):
    with Session(engine) as session:
        bound = bind(service, session)
        root = session.begin()
        insert(session, 1)
        first = bound.publish("orders.created", {})
        for _ in range(levels):
            session.begin_nested()
        second = bound.publish("orders.created", {})
        root.commit()
    assert service.told == [("prepare", (first, second)), ("confirm", (first, second))]
    assert orders(other) == [1]


def test_a_savepoint_that_ends_prepares_nothing_even_after_one_that_could_not_commit(service, engine):
    with Session(engine) as session:
        bound = bind(service, session)
        bound.publish("orders.created", {})

        def refuse(_session: Session) -> None:
            raise KeyError

        event.listen(session, "before_commit", refuse)
        with suppress(KeyError), session.begin_nested():
            pass
        event.remove(session, "before_commit", refuse)
        with session.begin_nested():
            insert(session, 1)
        assert service.told == []
        session.commit()
    assert service.verbs == ["prepare", "confirm"]


def test_a_session_that_is_closed_after_a_refused_commit_confirms_nothing_later(service, engine, other):
    ruled_out = new_id()
    other.execute("INSERT INTO aftercommit_outcome VALUES (?, 'rolled_back', '')", [ruled_out])
    session = Session(engine)
    bound = bind(service, session)
    insert(session, 1)
    lost = bound.publish("orders.created", {})
    bound.publish("orders.created", {}, id=ruled_out)
    with pytest.raises(RuledOut):
        session.commit()
    session.close()
    assert service.told[-1] == ("cancel", (lost, ruled_out))

    insert(session, 2)
    session.commit()
    session.close()
    assert service.ids("confirm") == []
    assert orders(other) == [2]


def test_what_is_published_after_the_commit_began_refuses_the_commit(service, engine, other):
    with Session(engine) as session:
        bound = bind(service, session)
        event.listen(session, "before_commit", lambda _session: bound.publish("orders.created", {}))
        insert(session, 1)
        with pytest.raises(TransactionEnded):
            session.commit()
    assert orders(other) == []
    assert service.told == []


def test_a_scoped_session_binds_the_session_of_its_scope_alone(service, engine):
    scope = scoped_session(sessionmaker(engine))
    bound = bind(service, scope)
    message_id = bound.publish("orders.created", {})

    def commit_elsewhere() -> None:
        scope.execute(text("SELECT 1"))
        scope.commit()
        scope.remove()

    thread = Thread(target=commit_elsewhere)
    thread.start()
    thread.join()
    assert service.told == []
    scope.commit()
    scope.remove()
    assert service.ids("confirm") == [message_id]


async def test_a_scoped_session_for_asyncio_binds_the_session_of_its_scope(service, path, other):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    scope = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: "here")
    bound = AsyncTransactions(AwaitedRecorder(service), confirm="wait", fallback=None).bind(scope, no_probe)
    await scope.execute(text("INSERT INTO orders VALUES (1)"))
    message_id = bound.publish("orders.created", {})
    await scope.commit()
    await scope.remove()
    await engine.dispose()
    assert service.told == [("prepare", (message_id,)), ("confirm", (message_id,))]
    assert orders(other) == [1]


async def test_a_session_for_asyncio_that_is_closed_after_a_refused_commit_cancels(service, path, other):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    ruled_out = new_id()
    other.execute("INSERT INTO aftercommit_outcome VALUES (?, 'rolled_back', '')", [ruled_out])
    async with AsyncSession(engine) as session:
        bound = AsyncTransactions(AwaitedRecorder(service), confirm="wait", fallback=None).bind(session, no_probe)
        await session.execute(text("INSERT INTO orders VALUES (1)"))
        bound.publish("orders.created", {}, id=ruled_out)
        with pytest.raises(RuledOut):
            await session.commit()
    await engine.dispose()
    assert service.verbs == ["prepare", "cancel"]
    assert orders(other) == []


def test_what_is_no_session_cannot_be_bound(service, engine):
    targets: list[Any] = [engine, sessionmaker(engine), object()]
    for target in targets:
        with pytest.raises(Misused, match="no session"):
            bind(service, target)


def test_a_closed_binding_leaves_no_listener_behind(service, engine):
    with Session(engine) as session:
        names = ("before_commit", "after_commit", "after_transaction_end", "after_transaction_create", "after_begin")
        before = [len(getattr(session.dispatch, name)) for name in names]
        bound = bind(service, session)
        bound.publish("orders.created", {})
        session.commit()
        bound.close()
        assert [len(getattr(session.dispatch, name)) for name in names] == before


def test_a_session_of_two_engines_cannot_commit_what_it_publishes(service, engine, other, tmp_path):
    second = create_engine(f"sqlite:///{tmp_path / 'second.db'}")
    with second.begin() as connection:
        connection.execute(text("CREATE TABLE stock (item INTEGER)"))
    with Session(engine) as session:
        bound = bind(service, session)
        session.execute(text("INSERT INTO stock VALUES (1)"), bind_arguments={"bind": second})
        bound.publish("orders.created", {})
        with pytest.raises(Misused, match="more than one"):
            session.commit()
    with second.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM stock")).scalar() == 0
    assert service.told == []
    second.dispose()
