"""Rows: every form of a message comes back as it went, in any number, and with any text."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Content, Delivery, Due, DueKind, Message, PayloadForm, TimelineEvent
from aftercommit.stores.sqlite import reader, rows
from aftercommit.stores.sqlite.connection import connect_writer
from aftercommit.stores.sqlite.migrate import apply_missing
from aftercommit.stores.sqlite.statements import Insert
from tests.builders import T0, message_id

DELIVERED = [Status.PENDING_SEND, Status.SENT, Status.UNDELIVERED, Status.FAILED, Status.COMPLETED]

times = st.none() | st.integers(0, 2**53)
numbers = st.integers(0, 2**31)
# SQLite keeps text as UTF-8, which has no surrogates; everything else, NUL included, must come back.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
dues = st.none() | st.builds(Due, st.sampled_from(DueKind), numbers, st.integers(0, 2**53))
deliveries = st.builds(
    Delivery,
    subscription=numbers,
    status=st.sampled_from(DELIVERED),
    attempts=numbers,
    refusals=numbers,
    sent_at=times,
    pulled_at=times,
    settled_at=times,
    error=st.none() | texts,
    due=dues,
)
message_states = st.builds(
    Message,
    id=st.just(message_id(1)),
    app=st.just(1),
    topic=st.none() | st.just(2),
    status=st.sampled_from(Status),
    prepared_at=st.just(T0),
    deliver_at=st.just(None),
    confirmed_at=times,
    settled_at=times,
    checks=numbers,
    checked_at=times,
    error=st.none() | texts,
    resolved_by=st.none() | texts,
    replay_of=st.just(None),
    due=st.none() | st.builds(Due, st.sampled_from([DueKind.CHECK, DueKind.SEND]), numbers, st.integers(0, 2**53)),
    deliveries=st.lists(deliveries, max_size=3).map(tuple),
)


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect_writer(path)) as made:
        apply_missing(made, path)
        yield made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(states=st.lists(message_states, min_size=1, max_size=4))
def test_every_state_comes_back_whatever_was_stored_before(
    connection: sqlite3.Connection, states: list[Message]
) -> None:
    connection.execute("BEGIN")
    stored: dict[str, Message] = {}
    for version, state in enumerate(states, 1):
        shape = {name: getattr(state, name) for name in state.__struct_fields__} | {"version": version}
        if stored:
            [last] = stored.values()
            # what a message delivers to never changes once it is known
            shape["topic"] = last.topic
            if last.deliveries:
                kept = [*state.deliveries, *last.deliveries][: len(last.deliveries)]
                shape["deliveries"] = tuple(kept)
        written = Message(**shape)
        rows.put_messages(connection, {written.id: written}, stored)
        stored = {written.id: written}
        assert reader.find(connection, [written.id]) == stored
    [(count,)] = connection.execute("SELECT count(*) FROM delivery").fetchall()
    assert count in (0, len(written.deliveries))
    connection.execute("ROLLBACK")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    contents=st.lists(
        st.builds(
            Content,
            content_type=texts,
            form=st.sampled_from(PayloadForm),
            payload=st.binary(max_size=50),
            fingerprint=st.binary(min_size=32, max_size=32),
            key=st.none() | texts,
            headers=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
            check_hint=st.none() | texts,
            traceparent=st.none() | texts,
        ),
        max_size=5,
    )
)
def test_every_content_comes_back_byte_for_byte(connection: sqlite3.Connection, contents: list[Content]) -> None:
    connection.execute("BEGIN")
    every = {message_id(number): each for number, each in enumerate(contents)}

    rows.put_contents(connection, every)

    assert rows.contents(connection, every) == every
    connection.execute("ROLLBACK")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    events=st.lists(
        st.builds(
            TimelineEvent,
            message_id=st.just(message_id(1)),
            at=numbers,
            event=texts,
            status=st.sampled_from(Status),
            attempt=st.none() | numbers,
            subscription=st.none() | numbers,
            actor=st.none() | texts,
            detail=st.none() | texts,
        ),
        max_size=5,
    ).map(tuple)
)
def test_every_history_comes_back_in_order(connection: sqlite3.Connection, events: tuple[TimelineEvent, ...]) -> None:
    connection.execute("BEGIN")
    message = Message(id=message_id(1), app=1, topic=None, status=Status.ROLLED_BACK, prepared_at=T0)
    rows.put_messages(connection, {message.id: message}, {})

    rows.put_events(connection, events)

    stored = reader.get(connection, message.id)
    assert stored is not None
    assert (stored.message, stored.content, stored.events) == (message, None, events)
    connection.execute("ROLLBACK")


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 15, 16, 63, 64, 65, 100, 128, 200, 1000])
def test_any_number_of_rows_is_written_once(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("CREATE TABLE few (a, b)")
    values: list[object] = [value for number in range(count) for value in (number, str(number))]

    written = Insert("few", ("a", "b")).run(connection, values)

    assert written == count
    assert connection.execute("SELECT count(*), count(DISTINCT a) FROM few").fetchone() == (count, count)


def test_few_lengths_of_statements_are_ever_prepared() -> None:
    seen: set[str] = set()

    class Recorder:
        rowcount = 0

        def execute(self, statement: str, _values: object) -> "Recorder":
            seen.add(statement)
            return self

    insert = Insert("few", ("a",))
    for count in range(300):
        insert.run(Recorder(), list(range(count)))  # type: ignore[arg-type]
    assert len(seen) <= 16
