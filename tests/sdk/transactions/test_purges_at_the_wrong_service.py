"""A purge that asks the wrong service, or with another application's key, where every message is unknown."""

import sqlite3

import pytest

from aftercommit.sdk.barrier.barrier import Barrier
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.consumer.inbox import Inbox
from aftercommit.sdk.errors import NotFound
from tests.sdk.transactions.recorder import refused

LONG_AGO = "2020-01-01 00:00:00.000"
NOW = "2999-01-01 00:00:00.000"


@pytest.fixture
def barrier(path) -> Barrier:
    """A barrier over the file."""
    return Barrier(lambda: sqlite3.connect(path, timeout=0.2))


def mark(other, message_id: str, at: str) -> None:
    other.execute("INSERT INTO aftercommit_outcome VALUES (?, 'committed', ?)", [message_id, at])


def markers(other) -> list[str]:
    return [each for (each,) in other.execute("SELECT message_id FROM aftercommit_outcome ORDER BY message_id")]


def known(*ids: str):
    return lambda each: BatchResult(id=each, status="sent") if each in ids else refused(NotFound)(each)


def test_where_not_even_the_newest_message_is_known_nothing_is_forgotten(barrier, service, other, caplog):
    mark(other, "01", LONG_AGO)
    mark(other, "02", NOW)
    service.answers["status"] = known()
    assert barrier.purge(service) == 0
    assert markers(other) == ["01", "02"]
    assert "not even the newest" in caplog.text


def test_where_a_newer_message_is_known_the_unknown_ones_are_forgotten(barrier, service, other):
    mark(other, "01", LONG_AGO)
    mark(other, "02", NOW)
    mark(other, "03", NOW)
    service.answers["status"] = known("02")
    assert barrier.purge(service) == 1
    assert markers(other) == ["02", "03"]


def test_one_that_is_settled_shows_that_the_service_is_the_right_one(barrier, service, other):
    mark(other, "01", LONG_AGO)
    mark(other, "02", LONG_AGO)
    service.answers["status"] = lambda each: (
        BatchResult(id=each, status="completed") if each == "02" else refused(NotFound)(each)
    )
    assert barrier.purge(service) == 2
    assert service.verbs == ["status"]


def test_an_inbox_forgets_nothing_there_either(path, service, other):
    inbox = Inbox(service, lambda: sqlite3.connect(path, timeout=0.2), subscription="stock")
    for subscription, message_id, at in [("stock", "01", LONG_AGO), ("stock", "02", NOW), ("mails", "03", NOW)]:
        other.execute("INSERT INTO aftercommit_inbox VALUES (?, ?, ?)", [subscription, message_id, at])
    service.answers["status"] = known("03")
    assert inbox.purge() == 0
    service.answers["status"] = known("02")
    assert inbox.purge() == 1
