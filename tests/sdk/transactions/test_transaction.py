"""The order of protocol 5 around a local transaction, and what becomes of it when a step fails."""

import sqlite3
from contextlib import suppress
from typing import Any

import pytest

from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.errors import IdConflict, RolledBack, Unreachable
from aftercommit.sdk.messages import new_id
from aftercommit.sdk.transactions.points import Point
from aftercommit.sdk.transactions.transaction import Transaction, handle_for
from aftercommit.sdk.transactions.transaction_errors import CommitUncertain, NotPrepared, RuledOut, TransactionEnded
from aftercommit.sdk.transactions.unit import Unit
from tests.sdk.transactions.recorder import Recorder, refused, unreachable


def transaction(service: Recorder, connection: sqlite3.Connection, **options: Any) -> Transaction:
    return Transaction(service, handle_of(connection), **options)


def markers(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT message_id, outcome FROM aftercommit_outcome").fetchall())


def orders(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM orders ORDER BY number")]


def rule_out(connection: sqlite3.Connection, message_id: str) -> None:
    connection.execute(
        "INSERT INTO aftercommit_outcome (message_id, outcome, at) VALUES (?, 'rolled_back', '')", [message_id]
    )


def test_messages_are_prepared_then_marked_then_committed_then_confirmed(service, connection, other):
    passed: list[tuple[Point, list[str], list[int]]] = []

    def probe(point: Point) -> None:
        passed.append((point, list(service.verbs), orders(other)))

    with transaction(service, connection, probe=probe) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        first = tx.publish("orders.created", {"order": 1}, key="1")
        second = tx.publish("mails.due", b"bytes")
        assert service.told == []

    assert service.told == [("prepare", (first, second)), ("confirm", (first, second))]
    assert markers(other) == {first: "committed", second: "committed"}
    assert passed == [
        (Point.BEFORE_PREPARE, [], []),
        (Point.AFTER_PREPARE, ["prepare"], []),
        (Point.BEFORE_COMMIT, ["prepare"], []),
        (Point.AFTER_COMMIT, ["prepare"], [1]),
        (Point.AFTER_SEND, ["prepare", "confirm"], [1]),
    ]


def test_a_transaction_without_messages_tells_the_service_nothing(service, connection, other):
    with transaction(service, connection):
        connection.execute("INSERT INTO orders VALUES (1)")
    assert service.told == []
    assert orders(other) == [1]


def test_an_exception_rolls_back_and_says_nothing_because_nothing_was_prepared(service, connection, other):
    with pytest.raises(KeyError), transaction(service, connection) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
        raise KeyError
    assert service.told == []
    assert orders(other) == []
    assert not connection.in_transaction


def test_what_was_published_before_the_block_is_prepared_before_the_transaction_begins(service, connection, other):
    tx = transaction(service, connection)
    early = tx.publish("orders.created", {"order": 1})
    with tx:
        assert service.told == [("prepare", (early,))]
        connection.execute("INSERT INTO orders VALUES (1)")
        late = tx.publish("orders.created", {"order": 2})
    assert service.told == [("prepare", (early,)), ("prepare", (late,)), ("confirm", (early, late))]
    assert set(markers(other).values()) == {"committed"}


def test_an_exception_after_an_early_prepare_is_cancelled_barrier_first(service, connection, other):
    tx = transaction(service, connection)
    early = tx.publish("orders.created", {"order": 1})
    with pytest.raises(KeyError), tx:
        raise KeyError
    assert service.told == [("prepare", (early,)), ("cancel", (early,))]
    assert markers(other) == {early: "rolled_back"}


def test_a_block_that_is_killed_rolls_back_and_leaves_the_rest_to_check_back(service, connection, other):
    tx = transaction(service, connection)
    tx.publish("orders.created", {"order": 1})
    with pytest.raises(KeyboardInterrupt), tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        raise KeyboardInterrupt
    assert service.verbs == ["prepare"]
    assert markers(other) == {}
    assert orders(other) == []


@pytest.mark.parametrize("answer", [unreachable(), refused(IdConflict)], ids=["unreachable", "id conflict"])
def test_a_message_that_is_not_prepared_rolls_back_and_is_cancelled_barrier_first(service, connection, other, answer):
    service.answers["prepare"] = answer
    with pytest.raises(NotPrepared) as raised, transaction(service, connection) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        message_id = tx.publish("orders.created", {})
    assert isinstance(raised.value.__cause__, Unreachable | IdConflict)
    assert raised.value.message_ids == (message_id,)
    assert service.told == [("prepare", (message_id,)), ("cancel", (message_id,))]
    assert markers(other) == {message_id: "rolled_back"}
    assert orders(other) == []


def test_one_refused_message_of_several_rolls_all_back(service, connection, other):
    bad = new_id()
    service.answers["prepare"] = lambda each: (
        refused(IdConflict)(each) if each == bad else Recorder()._answer("", [each])[0]
    )
    with pytest.raises(NotPrepared), transaction(service, connection) as tx:
        good = tx.publish("orders.created", {})
        tx.publish("orders.created", {}, id=bad)
    assert sorted(service.ids("cancel")) == sorted([good, bad])
    assert set(markers(other).values()) == {"rolled_back"}


def test_a_check_that_came_first_rules_the_transaction_out(service, connection, other):
    message_id = new_id()
    rule_out(other, message_id)
    with pytest.raises(RuledOut), transaction(service, connection) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {}, id=message_id)
    assert orders(other) == []
    assert markers(other) == {message_id: "rolled_back"}
    assert service.verbs == ["prepare", "cancel"]


def test_a_prepare_refused_as_rolled_back_is_a_check_that_came_first(service, connection, other):
    service.answers["prepare"] = refused(RolledBack)
    with pytest.raises(RuledOut), transaction(service, connection) as tx:
        message_id = tx.publish("orders.created", {})
        connection.execute("INSERT INTO orders VALUES (1)")
    assert orders(other) == []
    assert markers(other) == {message_id: "rolled_back"}


def test_all_messages_of_a_transaction_that_was_ruled_out_by_one_are_cancelled(service, connection, other):
    first = new_id()
    rule_out(other, first)
    with pytest.raises(RuledOut), transaction(service, connection) as tx:
        tx.publish("orders.created", {}, id=first)
        second = tx.publish("orders.created", {})
    assert service.told[-1] == ("cancel", (first, second))
    assert markers(other) == {first: "rolled_back", second: "rolled_back"}


def test_a_marker_that_cannot_be_written_rolls_back_before_the_drivers_error_comes_out(service, connection, other):
    other.execute("DROP TABLE aftercommit_outcome")
    with pytest.raises(sqlite3.OperationalError, match="aftercommit_outcome"), transaction(service, connection) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
    assert not connection.in_transaction
    assert orders(other) == []
    # What the barrier cannot say is not cancelled.
    assert service.verbs == ["prepare"]


def test_a_confirm_that_fails_is_logged_and_left_to_check_back(service, connection, other, caplog):
    service.answers["confirm"] = unreachable()
    with transaction(service, connection) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
    assert orders(other) == [1]
    assert "left to check-back" in caplog.text


def test_a_confirm_that_meets_a_rolled_back_message_is_an_incident(service, connection, caplog):
    service.answers["confirm"] = refused(RolledBack)
    with transaction(service, connection) as tx:
        tx.publish("orders.created", {})
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class LosesCommit:
    """A handle whose COMMIT raises, after or before it took effect."""

    def __init__(self, connection: sqlite3.Connection, *, takes_effect: bool, error: Exception) -> None:
        self._inner = handle_of(connection)
        self._takes_effect = takes_effect
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self) -> None:
        if self._takes_effect:
            await self._inner.commit()
        raise self._error


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_commit_whose_answer_is_lost_is_never_cancelled(service, connection, other, takes_effect):
    lost = LosesCommit(connection, takes_effect=takes_effect, error=ConnectionResetError("lost"))
    with pytest.raises(CommitUncertain) as raised, Transaction(service, lost) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
    assert isinstance(raised.value.__cause__, ConnectionResetError)
    assert service.verbs == ["prepare"]
    assert orders(other) == ([1] if takes_effect else [])
    assert list(markers(other).values()) == (["committed"] if takes_effect else [])


def test_a_commit_that_the_database_refused_is_cancelled_and_its_error_comes_out(service, connection, other):
    refusal = sqlite3.OperationalError("database is locked")
    refusal.sqlite_errorcode = sqlite3.SQLITE_BUSY
    with (
        pytest.raises(sqlite3.OperationalError),
        Transaction(service, LosesCommit(connection, takes_effect=False, error=refusal)) as tx,
    ):
        message_id = tx.publish("orders.created", {})
    assert service.told == [("prepare", (message_id,)), ("cancel", (message_id,))]
    assert markers(other) == {message_id: "rolled_back"}


def test_the_retry_of_a_unit_finds_out_that_the_first_run_committed(service, connection, other):
    unit = Unit()
    lost = LosesCommit(connection, takes_effect=True, error=ConnectionResetError("lost"))
    with pytest.raises(CommitUncertain), Transaction(service, lost, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        message_id = tx.publish("orders.created", {"order": 1})

    with transaction(service, connection, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (2)")
        assert tx.publish("orders.created", {"order": 1}) == message_id

    assert tx.already_done
    assert orders(other) == [1]
    assert service.told[-1] == ("confirm", (message_id,))
    assert "cancel" not in service.verbs


def test_the_retry_of_a_unit_that_did_not_commit_commits(service, connection, other):
    unit = Unit()
    lost = LosesCommit(connection, takes_effect=False, error=ConnectionResetError("lost"))
    with pytest.raises(CommitUncertain), Transaction(service, lost, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        message_id = tx.publish("orders.created", {"order": 1})
    with transaction(service, connection, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (2)")
        tx.publish("orders.created", {"order": 1})
    assert not tx.already_done
    assert orders(other) == [2]
    assert markers(other) == {message_id: "committed"}


def test_a_retry_with_another_payload_still_finds_out_that_the_first_run_committed(service, connection, other):
    unit = Unit()
    with transaction(service, connection, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        message_id = tx.publish("orders.created", {"order": 1})
    service.answers["prepare"] = refused(IdConflict)
    with transaction(service, connection, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (2)")
        tx.publish("orders.created", {"order": 2})
    assert tx.already_done
    assert orders(other) == [1]
    assert markers(other) == {message_id: "committed"}


def test_an_early_publish_of_a_unit_that_is_done_undoes_the_second_run(service, connection, other):
    unit = Unit()
    with transaction(service, connection, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {"order": 1})
    again = transaction(service, connection, unit=unit)
    again.publish("orders.created", {"order": 1})
    with again:
        assert again.already_done
        connection.execute("INSERT INTO orders VALUES (2)")
    assert orders(other) == [1]


def test_a_unit_that_was_ruled_out_takes_new_ids(service, connection, other):
    unit = Unit()
    first = unit.next_id()
    rule_out(other, first)
    with pytest.raises(RuledOut), transaction(service, connection, unit=unit) as tx:
        tx.publish("orders.created", {})
    with transaction(service, connection, unit=unit) as tx:
        second = tx.publish("orders.created", {})
    assert first != second
    assert markers(other) == {first: "rolled_back", second: "committed"}


def test_what_a_savepoint_takes_back_is_not_published(service, connection, other):
    with transaction(service, connection) as tx:
        kept = tx.publish("orders.created", {})
        with suppress(KeyError), tx.savepoint():
            connection.execute("INSERT INTO orders VALUES (1)")
            tx.publish("orders.created", {})
            raise KeyError
        with tx.savepoint():
            inner = tx.publish("orders.created", {})
    assert service.ids("prepare") == [kept, inner]
    assert orders(other) == []
    assert set(markers(other)) == {kept, inner}


def test_a_transaction_that_was_ended_inside_the_block_publishes_nothing(service, connection, other):
    with pytest.raises(TransactionEnded), transaction(service, connection) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
        connection.rollback()
    assert service.told == []
    assert markers(other) == {}


def test_an_early_marker_that_was_rolled_back_inside_the_block_publishes_nothing(service, connection, other):
    tx = transaction(service, connection)
    tx.publish("orders.created", {})
    with pytest.raises(TransactionEnded), tx:
        connection.rollback()
        connection.execute("INSERT INTO orders VALUES (1)")
    assert orders(other) == []
    assert service.verbs == ["prepare", "cancel"]


def test_a_plain_message_does_not_go_with_a_transaction(service, connection):
    with pytest.raises(TypeError, match="confirmed by its commit"), transaction(service, connection) as tx:
        tx.publish("orders.created", {}, confirmed=True)


def test_a_connection_for_asyncio_is_refused_by_the_blocking_client():
    with pytest.raises(Misused, match="no session or connection"):
        handle_for(object(), blocking=True)


def test_confirms_may_be_left_to_somebody_else(service, connection):
    later: list[str] = []
    with transaction(service, connection, confirm_later=later.extend) as tx:
        message_id = tx.publish("orders.created", {})
    assert later == [message_id]
    assert service.verbs == ["prepare"]
