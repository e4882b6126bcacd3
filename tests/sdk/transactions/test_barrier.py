"""What the barrier answers to checks, and what it forgets. Races are in tests/races; every driver in sdk/databases."""

import sqlite3
from pathlib import Path

import pytest

from aftercommit.sdk.barrier.barrier import AsyncBarrier, Barrier
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.errors import NotFound
from aftercommit.wire import Check
from tests.sdk.transactions.recorder import refused, unreachable


def check(message_id: str, hint: str | None = None) -> Check:
    return Check(id=message_id, topic="orders.created", key=None, hint=hint, prepared_at="", check=1)


def mark(connection: sqlite3.Connection, message_id: str, outcome: str, days_ago: int = 0) -> None:
    connection.execute(
        "INSERT INTO aftercommit_outcome VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%f', 'now', ?))",
        [message_id, outcome, f"-{days_ago} days"],
    )


def markers(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT message_id, outcome FROM aftercommit_outcome"))


@pytest.fixture
def barrier(path: Path) -> Barrier:
    """A barrier over the file, with connections of its own."""
    return Barrier(lambda: sqlite3.connect(path))


def test_a_check_tells_what_the_markers_say_and_rules_out_what_has_none(barrier, other):
    mark(other, "a", "committed")
    mark(other, "b", "rolled_back")
    assert barrier.check([check("a"), check("b"), check("c")]) == {
        "a": Outcome.COMMITTED,
        "b": Outcome.ROLLED_BACK,
        "c": Outcome.ROLLED_BACK,
    }
    assert markers(other) == {"a": "committed", "b": "rolled_back", "c": "rolled_back"}
    assert barrier.check([check("c")]) == {"c": Outcome.ROLLED_BACK}


def test_what_another_transaction_holds_is_unknown(barrier, other):
    other.execute("BEGIN IMMEDIATE")
    mark(other, "a", "committed")
    assert barrier.check([check("a"), check("b")]) == {"a": Outcome.UNKNOWN, "b": Outcome.UNKNOWN}
    other.execute("COMMIT")
    assert barrier.check([check("a")]) == {"a": Outcome.COMMITTED}


def test_a_database_that_cannot_be_asked_makes_everything_unknown(other, caplog):
    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    assert Barrier(refuse).check([check("a")]) == {"a": Outcome.UNKNOWN}
    assert "unable to open" in caplog.text


def test_without_its_table_the_barrier_guesses_nothing(barrier, other):
    other.execute("DROP TABLE aftercommit_outcome")
    assert barrier.check([check("a")]) == {"a": Outcome.UNKNOWN}


def test_what_is_left_after_three_seconds_is_unknown(path, other):
    ticks = iter([0.0, 0.0, 0.0, 1.0, 2.9, 3.0, 3.1, 3.2])
    outcomes = Barrier(lambda: sqlite3.connect(path), clock=lambda: next(ticks)).check([check(each) for each in "abcd"])
    assert outcomes == {
        "a": Outcome.ROLLED_BACK,
        "b": Outcome.ROLLED_BACK,
        "c": Outcome.UNKNOWN,
        "d": Outcome.UNKNOWN,
    }
    assert set(markers(other)) == {"a", "b"}


def test_a_route_finds_the_database_by_the_hint_and_knows_nothing_without(path):
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path)

    barrier = Barrier(route=lambda asked: connect if asked.hint == "shard-1" else None)
    assert barrier.check([check("a", "shard-1"), check("b", "shard-2"), check("c")]) == {
        "a": Outcome.ROLLED_BACK,
        "b": Outcome.UNKNOWN,
        "c": Outcome.UNKNOWN,
    }


def test_a_barrier_has_one_database_or_a_route():
    with pytest.raises(TypeError):
        Barrier()
    with pytest.raises(TypeError):
        Barrier(sqlite3.connect, route=lambda asked: None)


def test_the_purge_forgets_only_what_is_old_and_settled_or_unknown_at_the_service(barrier, other, service):
    for message_id in ("settled", "live", "unknown"):
        mark(other, message_id, "committed", days_ago=31)
    mark(other, "young", "committed", days_ago=29)
    status = {"settled": "completed", "live": "pending_confirmation"}
    service.answers["status"] = lambda each: (
        refused(NotFound)(each) if each == "unknown" else result(each, status[each])
    )
    assert barrier.purge(service) == 2
    assert service.told == [("status", ("live", "settled", "unknown"))]
    assert set(markers(other)) == {"live", "young"}


def test_a_purge_that_hears_nothing_forgets_nothing(barrier, other, service):
    mark(other, "a", "committed", days_ago=31)
    service.answers["status"] = unreachable()
    with pytest.raises(type(unreachable())):
        barrier.purge(service)
    assert set(markers(other)) == {"a"}


def test_a_purge_goes_through_all_pages(barrier, other, service):
    ids = [f"{number:05}" for number in range(2500)]
    other.executemany(
        "INSERT INTO aftercommit_outcome VALUES (?, 'committed', '2020-01-01 00:00:00.000')", [[each] for each in ids]
    )
    service.answers["status"] = lambda each: result(each, "sent" if each == "01000" else "completed")
    assert barrier.purge(service) == 2499
    assert list(markers(other)) == ["01000"]


async def test_the_barrier_for_asyncio_answers_the_same(path, other):
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    mark(other, "a", "committed")
    assert await AsyncBarrier(engine).check([check("a"), check("b")]) == {
        "a": Outcome.COMMITTED,
        "b": Outcome.ROLLED_BACK,
    }
    await engine.dispose()


def result(message_id: str, status: str):
    from aftercommit.sdk.clients.answers import BatchResult

    return BatchResult(id=message_id, status=status)
