"""Runs of one unit that follow each other, however the one before ended."""

import sqlite3
from contextlib import suppress
from typing import Any

import pytest

from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.errors import RolledBack
from aftercommit.sdk.transactions.transaction import Transaction
from aftercommit.sdk.transactions.transaction_errors import CommitUncertain, TransactionEnded
from aftercommit.sdk.transactions.unit import Unit
from tests.sdk.transactions.recorder import Recorder, refused


class Remembering(Recorder):
    """A service that refuses to prepare what was cancelled."""

    def _answer(self, verb: str, ids: Any) -> list[BatchResult]:
        results = super()._answer(verb, ids)
        if verb != "prepare":
            return results
        cancelled = self.ids("cancel")
        return [refused(RolledBack)(each.id) if each.id in cancelled else each for each in results]


@pytest.fixture
def service() -> Remembering:
    """A service that remembers."""
    return Remembering()


class Commits:
    """A handle with a COMMIT of its own."""

    def __init__(self, connection: sqlite3.Connection, error: Exception, *, takes_effect: bool) -> None:
        self._inner = handle_of(connection)
        self._error = error
        self._takes_effect = takes_effect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self) -> None:
        if self._takes_effect:
            await self._inner.commit()
        raise self._error


def busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


def orders(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM orders ORDER BY number")]


def test_the_run_after_a_refused_commit_commits(service, connection, other):
    unit = Unit()
    with (
        pytest.raises(sqlite3.OperationalError),
        Transaction(service, Commits(connection, busy(), takes_effect=False), unit=unit) as tx,
    ):
        connection.execute("INSERT INTO orders VALUES (1)")
        first = tx.publish("orders.created", {})
    with Transaction(service, handle_of(connection), unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (2)")
        second = tx.publish("orders.created", {})
    assert service.told[-1] == ("confirm", (second,))
    assert service.ids("cancel") == [first]
    assert orders(other) == [2]


def test_the_run_after_a_block_that_failed_commits_what_was_published_before_it(service, connection, other):
    unit = Unit()
    tx = Transaction(service, handle_of(connection), unit=unit)
    tx.publish("orders.created", {})
    with pytest.raises(sqlite3.OperationalError), tx:
        raise busy()
    tx = Transaction(service, handle_of(connection), unit=unit)
    second = tx.publish("orders.created", {})
    with tx:
        connection.execute("INSERT INTO orders VALUES (2)")
    assert service.told[-1] == ("confirm", (second,))
    assert orders(other) == [2]


def test_ids_that_another_run_may_still_commit_are_kept(service, connection, other):
    unit = Unit()
    # Somebody else holds the database, so that the barrier cannot decide.
    lost = Commits(connection, busy(), takes_effect=False)
    with pytest.raises(sqlite3.OperationalError), Transaction(service, lost, unit=unit) as tx:
        first = tx.publish("orders.created", {})
        setattr(lost, "separate", Locked)  # noqa: B010 - only this one
    assert service.ids("cancel") == []
    with Transaction(service, handle_of(connection), unit=unit) as tx:
        assert tx.publish("orders.created", {}) == first


class Locked:
    """A database that cannot be asked."""

    def open(self) -> Any:
        raise busy()


def lose_a_commit_that_took_effect(service: Recorder, connection: sqlite3.Connection, unit: Unit) -> str:
    lost = Commits(connection, ConnectionResetError("lost"), takes_effect=True)
    with pytest.raises(CommitUncertain), Transaction(service, lost, unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
    return unit.message_ids[0]


class Flushes:
    """A handle that holds an INSERT back until it is flushed, as an ORM does."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self._connection = connection
        self._inner = handle_of(connection)
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def flush(self) -> None:
        self._connection.execute("INSERT INTO orders VALUES (?)", [self._number])


def test_a_retry_whose_rows_are_there_already_finds_out_that_the_first_run_committed(service, connection, other):
    unit = Unit()
    message_id = lose_a_commit_that_took_effect(service, connection, unit)
    with Transaction(service, Flushes(connection, 1), unit=unit) as tx:
        tx.publish("orders.created", {})
    assert tx.already_done
    assert orders(other) == [1]
    assert service.told[-1] == ("confirm", (message_id,))


def test_a_retry_whose_block_meets_its_own_rows_says_that_it_is_done(service, connection, other):
    unit = Unit()
    message_id = lose_a_commit_that_took_effect(service, connection, unit)
    tx = Transaction(service, handle_of(connection), unit=unit)
    with pytest.raises(sqlite3.IntegrityError), tx:
        connection.execute("INSERT INTO orders VALUES (1)")
        tx.publish("orders.created", {})
    assert tx.already_done
    assert service.told[-1] == ("confirm", (message_id,))


def test_a_retry_that_meets_somebody_elses_row_fails(service, connection, other):
    unit = Unit()
    lost = Commits(connection, ConnectionResetError("lost"), takes_effect=False)
    with pytest.raises(CommitUncertain), Transaction(service, lost, unit=unit) as tx:
        message_id = tx.publish("orders.created", {})
    other.execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError), Transaction(service, Flushes(connection, 1), unit=unit) as tx:
        tx.publish("orders.created", {})
    assert not tx.already_done
    assert service.told[-1] == ("cancel", (message_id,))


def test_a_transaction_is_entered_once(service, connection, other):
    tx = Transaction(service, handle_of(connection))
    tx.publish("orders.created", {})
    with tx:
        connection.execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(Misused, match="entered before"), tx:
        pass
    assert not tx.already_done


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_published_after_the_end(service, connection, fails):
    tx = Transaction(service, handle_of(connection))
    with suppress(KeyError), tx:
        if fails:
            raise KeyError
    with pytest.raises(TransactionEnded, match="too late"):
        tx.publish("orders.created", {})


def test_a_barrier_that_fails_leaves_the_settings_of_the_connection_as_they_were(service, connection, other):
    before = connection.execute("PRAGMA busy_timeout").fetchone()
    tx = Transaction(service, handle_of(connection))
    tx.publish("orders.created", {})
    other.execute("DROP TABLE aftercommit_outcome")
    with pytest.raises(sqlite3.OperationalError), tx:
        pass
    assert connection.execute("PRAGMA busy_timeout").fetchone() == before


def test_a_retry_that_publishes_nothing_still_finds_out_that_the_first_run_committed(service, connection, other):
    unit = Unit()
    message_id = lose_a_commit_that_took_effect(service, connection, unit)
    with Transaction(service, handle_of(connection), unit=unit) as tx:
        connection.execute("INSERT INTO orders VALUES (2)")
    assert tx.already_done
    assert orders(other) == [1]
    assert service.told[-1] == ("confirm", (message_id,))


def test_what_a_retry_did_not_publish_again_can_never_commit_after_it(service, connection, other):
    unit = Unit()
    lost = Commits(connection, ConnectionResetError("lost"), takes_effect=False)
    with pytest.raises(CommitUncertain), Transaction(service, lost, unit=unit) as tx:
        first, second = tx.publish("orders.created", {}), tx.publish("mails.due", {})
    with Transaction(service, handle_of(connection), unit=unit) as tx:
        tx.publish("orders.created", {})
    assert not tx.already_done
    assert dict(other.execute("SELECT message_id, outcome FROM aftercommit_outcome")) == {
        first: "committed",
        second: "rolled_back",
    }
    assert service.ids("confirm") == [first]
