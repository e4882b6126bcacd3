"""Messages that wait in the user's own database while the service cannot be reached."""

import sqlite3

import pytest

from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.errors import IdConflict, Invalid, NotFound
from aftercommit.sdk.transactions.outbox import Fallback, OutboxRelay
from aftercommit.sdk.transactions.transaction import Transaction
from aftercommit.sdk.transactions.transaction_errors import NotPrepared
from tests.sdk.transactions.recorder import Recorder, refused, unreachable


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def fallback(clock: Clock) -> Fallback:
    """A fallback that has not been used yet."""
    return Fallback(pause_seconds=5, clock=clock)


def publish(service: Recorder, connection: sqlite3.Connection, fallback: Fallback, number: int) -> str:
    with Transaction(service, handle_of(connection), fallback=fallback) as tx:
        connection.execute("INSERT INTO orders VALUES (?)", [number])
        return tx.publish("orders.created", {"order": number}, key=str(number))


def waiting(connection: sqlite3.Connection) -> list[str]:
    return [each for (each,) in connection.execute("SELECT message_id FROM aftercommit_outbox ORDER BY message_id")]


def test_while_the_service_cannot_be_reached_messages_commit_into_the_outbox_with_their_markers(
    service, connection, other, fallback
):
    service.answers["prepare"] = unreachable()
    message_id = publish(service, connection, fallback, 1)
    assert waiting(other) == [message_id]
    assert other.execute("SELECT message_id, outcome FROM aftercommit_outcome").fetchall() == [
        (message_id, "committed")
    ]
    assert other.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    assert service.verbs == ["prepare"]


def test_after_a_failure_the_service_is_left_alone_for_a_while_and_then_asked_again(
    service, connection, fallback, clock
):
    service.answers["prepare"] = unreachable()
    publish(service, connection, fallback, 1)
    service.answers.clear()
    clock.now += 4.9
    publish(service, connection, fallback, 2)
    assert service.verbs == ["prepare"]
    clock.now += 0.1
    publish(service, connection, fallback, 3)
    assert service.verbs == ["prepare", "prepare", "confirm"]


def test_a_refusal_is_no_reason_for_the_outbox(service, connection, other, fallback):
    service.answers["prepare"] = refused(IdConflict)
    with pytest.raises(NotPrepared):
        publish(service, connection, fallback, 1)
    assert waiting(other) == []


def test_a_rollback_takes_the_outbox_along(service, connection, other, fallback):
    service.answers["prepare"] = unreachable()
    connection.execute("INSERT INTO orders VALUES (1)")
    connection.commit()
    with pytest.raises(sqlite3.IntegrityError):
        publish(service, connection, fallback, 1)
    assert waiting(other) == []


def test_the_relay_prepares_and_confirms_the_same_messages_and_then_forgets_them(service, connection, other, fallback):
    service.answers["prepare"] = unreachable()
    ids = [publish(service, connection, fallback, number) for number in (1, 2)]
    published = service.prepared[:1]
    service.answers.clear()
    service.told.clear()
    relay = OutboxRelay(service, lambda: connect(other))

    assert relay.run_once() == 2

    assert service.told == [("prepare", tuple(ids)), ("confirm", tuple(ids))]
    assert service.prepared[1] == published[0], "The relay must repeat the very message that may have been received."
    assert waiting(other) == []
    assert relay.run_once() == 0


def test_what_the_service_refuses_stays_in_the_outbox_and_does_not_hold_up_the_rest(
    service, connection, other, fallback, caplog
):
    service.answers["prepare"] = unreachable()
    bad, good = (publish(service, connection, fallback, number) for number in (1, 2))
    service.answers["prepare"] = lambda each: refused(IdConflict)(each) if each == bad else ok(each)
    assert OutboxRelay(service, lambda: connect(other)).run_once() == 1
    assert waiting(other) == [bad]
    assert service.ids("confirm") == [good]
    assert "stays there" in caplog.text


def test_a_relay_that_is_not_heard_keeps_everything(service, connection, other, fallback):
    service.answers["prepare"] = unreachable()
    message_id = publish(service, connection, fallback, 1)
    service.answers = {"confirm": unreachable()}
    with pytest.raises(type(unreachable())):
        OutboxRelay(service, lambda: connect(other)).run_once()
    assert waiting(other) == [message_id]


@pytest.mark.parametrize("was_received", [True, False])
def test_one_that_is_too_old_to_be_prepared_is_confirmed_if_it_had_been_received(
    service, connection, other, fallback, was_received
):
    service.answers["prepare"] = unreachable()
    message_id = publish(service, connection, fallback, 1)
    service.answers["prepare"] = lambda each: BatchResult(id=each, error=Invalid("id_out_of_range", "Too old."))
    if not was_received:
        service.answers["confirm"] = refused(NotFound)
    assert OutboxRelay(service, lambda: connect(other)).run_once() == was_received
    assert service.ids("confirm") == [message_id]
    assert waiting(other) == ([] if was_received else [message_id])


def ok(message_id: str):
    return Recorder()._answer("prepare", [message_id])[0]


def connect(like: sqlite3.Connection) -> sqlite3.Connection:
    (_, _, file) = like.execute("PRAGMA database_list").fetchone()
    return sqlite3.connect(file)
