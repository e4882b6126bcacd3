"""The transition table, cell by cell, against the one written out by hand."""

from itertools import combinations_with_replacement

import pytest

from aftercommit.domain.lifecycle import (
    LIVE,
    OPEN_DELIVERY,
    PARKED,
    TERMINAL,
    UNCONFIRMED,
    Already,
    Decision,
    Event,
    Move,
    Refusal,
    Refused,
    Replay,
    Status,
    decide,
    message_status,
)
from tests.builders import make_world
from tests.domain.life import life_by
from tests.lifecycle_table import CELLS, EVENTS
from tests.ways import BUDGET_EVENTS, ways

WAYS = {name: status for name, (status, _steps) in ways(make_world()).items()}


def expected(cell: str) -> Decision:
    if cell == "already":
        return Already()
    if cell == "replay":
        return Replay()
    return Refused(Refusal(cell[1:])) if cell.startswith("!") else Move(Status(cell))


@pytest.mark.parametrize(("event", "status"), CELLS)
def test_every_cell_of_the_table_is_the_protocols(event, status):
    assert decide(Event(event), status) == expected(CELLS[event, status])


def test_the_table_written_by_hand_has_every_event_and_status():
    assert {(Event(event), status) for event, status in CELLS} == {(e, s) for e in Event for s in Status}


def test_every_status_has_one_kind():
    assert set(Status) == LIVE | TERMINAL | PARKED
    assert not LIVE & TERMINAL
    assert not LIVE & PARKED
    assert not TERMINAL & PARKED
    assert {"pending_confirmation", "pending_send", "sent"} == LIVE
    assert {"completed", "rolled_back", "failed"} == TERMINAL
    assert {"pending_confirmation", "undecided"} == UNCONFIRMED
    assert {"pending_send", "sent", "undelivered"} == OPEN_DELIVERY


@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize("event", EVENTS)
def test_nothing_moves_a_terminal_status(event, status):
    assert not isinstance(decide(Event(event), status), Move)


ORDER = ["pending_send", "sent", "undelivered", "failed", "completed"]


@pytest.mark.parametrize(
    "statuses", [pair for size in (1, 2, 3) for pair in combinations_with_replacement(ORDER, size)]
)
def test_a_message_shows_the_first_status_of_its_deliveries_in_the_protocols_order(statuses):
    deliveries = [Status(each) for each in reversed(statuses)]

    assert message_status(deliveries) == min(statuses, key=ORDER.index)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_leads_where_it_says(way):
    assert life_by(way).message.status == WAYS[way]


def test_there_is_a_way_to_every_status():
    assert set(WAYS.values()) == set(Status)


@pytest.mark.parametrize("event", [event for event in EVENTS if event not in BUDGET_EVENTS])
@pytest.mark.parametrize("way", WAYS)
def test_a_command_does_what_the_table_says_however_the_status_was_reached(way, event):
    # given
    life = life_by(way)
    before = life.message
    cell = CELLS[event, before.status]
    life.now += 1

    # when
    step = life.step(life.say.for_event(event))

    # then
    if cell.startswith("!"):
        assert (step.outcome.refusal, step.outcome.status) == (Refusal(cell[1:]), before.status)
        assert step.message is None
        assert step.outcome.message == before
        assert step.outcome.detail
    elif cell == "already":
        assert (step.outcome.refusal, step.outcome.status, step.message) == (None, before.status, None)
        assert not step.events
    elif cell == "replay":
        assert step.message is None
        assert step.replay is not None
        assert (step.replay.status, step.replay.replay_of) == (Status.PENDING_SEND, before.id)
    else:
        assert (step.outcome.refusal, step.outcome.status, life.message.status) == (None, Status(cell), Status(cell))
        # What is due already cannot be made due.
        assert step.outcome.changed or event == "redeliver"
