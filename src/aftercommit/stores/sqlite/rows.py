"""Records to rows and rows to records.

Reading: a query answers with one row of JSON for all its records, which msgspec decodes in C. Writing: the values of
all rows in one list, for `statements.Insert`.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from aftercommit.domain.errors import Inconsistency
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Content, Delivery, DueKind, Message, PayloadForm, TimelineEvent
from aftercommit.stores.sqlite import schema
from aftercommit.stores.sqlite.statements import Insert

# Which tally a message is counted in; and from which status (None: it is new) to which it goes.
Tallied: TypeAlias = tuple[int, int | None, Status]
_Move: TypeAlias = tuple[int, int | None, Status | None, Status]

encode: Final = msgspec.json.encode
decode_message: Final = msgspec.json.Decoder(Message).decode
decode_messages: Final = msgspec.json.Decoder(list[Message]).decode
decode_events: Final = msgspec.json.Decoder(tuple[TimelineEvent, ...]).decode
decode_ids: Final = msgspec.json.Decoder(list[str]).decode

_CHANGED: Final = [each for each in (*schema.USUAL, *schema.RARE) if each not in schema.NEVER_CHANGED]
# New rows and changed ones by one statement. A changed row must still have the version that was loaded: where it has
# not, nothing is written and the number of rows written tells.
_PUT_MESSAGES: Final = Insert(
    "message",
    (*schema.USUAL, *schema.RARE),
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in _CHANGED)}"
    " WHERE version = excluded.version - 1",
)
# The same for lives that never used the rare columns, which is nearly all of them: two thirds of the time.
_PUT_USUAL_MESSAGES: Final = Insert(
    "message",
    schema.USUAL,
    "ON CONFLICT (id) DO UPDATE SET"
    f" {', '.join(f'{each} = excluded.{each}' for each in _CHANGED if each in schema.USUAL)}"
    " WHERE version = excluded.version - 1",
)
_PUT_DELIVERIES: Final = Insert(
    "delivery",
    schema.DELIVERY,
    "ON CONFLICT (message_id, position) DO UPDATE SET"
    f" {', '.join(f'{each} = excluded.{each}' for each in schema.DELIVERY[2:])}",
)
# A sole delivery that was apart is inline again.
_FORGET_DELIVERIES: Final = "DELETE FROM delivery WHERE message_id IN (SELECT value FROM json_each(?))"
_PUT_CONTENTS: Final = Insert("content", schema.CONTENT)
_PUT_EVENTS: Final = Insert("event", schema.EVENT)
_PUT_TALLIES: Final = Insert(
    "tally", schema.TALLY, "ON CONFLICT (app, topic, status) DO UPDATE SET count = count + excluded.count"
)

_NEXT_STATES: Final = f"""
    SELECT json_group_array({schema.message_json("m.version + 1")})
    FROM json_each(?) AS wanted CROSS JOIN message AS m ON m.id = wanted.value"""
_CONTENTS: Final = f"""
    SELECT json_group_array({schema.CONTENT_JSON}), group_concat({schema.CONTENT_BYTES}, '')
    FROM json_each(?) AS wanted CROSS JOIN content AS c ON c.id = wanted.value"""
_FINGERPRINTS: Final = """
    SELECT json_group_array(json_array(c.id, hex(c.fingerprint)))
    FROM json_each(?) AS wanted CROSS JOIN content AS c ON c.id = wanted.value"""
_OF_MESSAGE: Final = frozenset({DueKind.CHECK, DueKind.SEND})
_NO_RARE: Final = (None, 0, None, None, None, None, 0, None, 0)
_NO_DUE: Final = (None, None, None)
_NO_DELIVERY: Final = (None, 0, None, None)


class _ContentRow(msgspec.Struct, array_like=True, gc=False):
    """Content without its bytes, as `schema.CONTENT_JSON` shows it."""

    id: str
    content_type: str
    form: PayloadForm
    key: str | None
    headers: tuple[tuple[str, str], ...]
    check_hint: str | None
    traceparent: str | None
    fingerprint_bytes: int
    payload_bytes: int


_decode_contents: Final = msgspec.json.Decoder(list[_ContentRow]).decode
_decode_fingerprints: Final = msgspec.json.Decoder(list[tuple[str, str]]).decode


def next_states(connection: sqlite3.Connection, ids: Iterable[str]) -> list[Message]:
    """The stored states of the ids that exist, each with the version that its next write will give it."""
    [rows] = connection.execute(_NEXT_STATES, (encode(list(ids)).decode(),)).fetchone()
    return decode_messages(rows)


def contents(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, Content]:
    """What the messages of the ids carry."""
    found = connection.execute(_CONTENTS, (encode(list(ids)).decode(),)).fetchone()
    return cut_contents(*found)


def fingerprints(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, bytes]:
    """The digests of what the messages of the ids carry, without reading the payloads."""
    [found] = connection.execute(_FINGERPRINTS, (encode(list(ids)).decode(),)).fetchone()
    return {message_id: bytes.fromhex(digits) for message_id, digits in _decode_fingerprints(found)}


def cut_contents(rows: bytes, run_together: bytes | None) -> dict[str, Content]:
    """Contents from their rows and their bytes in the same order."""
    every, start, data = {}, 0, run_together or b""
    for each in _decode_contents(rows):
        middle = start + each.fingerprint_bytes
        end = middle + each.payload_bytes
        every[each.id] = Content(
            content_type=each.content_type,
            form=each.form,
            payload=data[middle:end],
            fingerprint=data[start:middle],
            key=each.key,
            headers=each.headers,
            check_hint=each.check_hint,
            traceparent=each.traceparent,
        )
        start = end
    return every


def put_messages(connection: sqlite3.Connection, changed: Mapping[str, Message], stored: Mapping[str, Message]) -> None:
    """Write the states in `changed` over those in `stored`, with their deliveries and what they do to the tallies.

    Raises `Inconsistency` where a row is not as it was loaded.
    """
    usual: list[object] = []
    whole: list[object] = []
    deliveries = _DeliveryRows([], [])
    moves: dict[_Move, int] = {}
    for message_id, each in changed.items():
        known = stored.get(message_id)
        sole = _kept_inline(each)
        row, rare = _usual(each, sole), _rare(each, sole)
        known_rare = _NO_RARE if known is None else _rare(known, _kept_inline(known))
        if rare == known_rare:
            usual += row
        else:
            whole += row
            whole += rare
        if rare[-1] or known_rare[-1]:
            deliveries.add(each, known if known_rare[-1] else None, apart=sole is None)
        move = (each.app, each.topic, None if known is None else known.status, each.status)
        moves[move] = moves.get(move, 0) + 1
    written = _PUT_USUAL_MESSAGES.run(connection, usual) + _PUT_MESSAGES.run(connection, whole)
    if written != len(changed):
        missing = len(changed) - written
        raise Inconsistency(f"{missing} of {len(changed)} messages had changed between their reading and writing.")
    deliveries.write(connection)
    put_tallies(connection, _tally_changes(moves))


def put_contents(connection: sqlite3.Connection, new: Mapping[str, Content]) -> None:
    """Write contents of new messages."""
    values: list[object] = []
    for message_id, each in new.items():
        values += (
            message_id,
            each.content_type,
            str(each.form),
            each.key,
            encode(each.headers).decode() if each.headers else "[]",
            each.check_hint,
            each.traceparent,
            each.fingerprint,
            each.payload,
        )
    _PUT_CONTENTS.run(connection, values)


def put_events(connection: sqlite3.Connection, events: Iterable[TimelineEvent]) -> None:
    """Write lines of histories, in order."""
    values: list[object] = []
    for each in events:
        values += (
            each.message_id,
            each.at,
            each.event,
            str(each.status),
            each.attempt,
            each.subscription,
            each.actor,
            each.detail,
        )
    _PUT_EVENTS.run(connection, values)


class _DeliveryRows(NamedTuple):
    """What changes in the table of deliveries."""

    values: list[object]
    moved_inline: list[str]

    def add(self, message: Message, known: Message | None, *, apart: bool) -> None:
        """The deliveries of `message`, if they stand `apart`; those of `known` are stored there."""
        if not apart:
            self.moved_inline.append(message.id)
            return
        stored = known.deliveries if known is not None else ()
        for position, delivery in enumerate(message.deliveries):
            if position >= len(stored) or stored[position] != delivery:
                self.values.extend(_delivery(message.id, position, delivery))

    def write(self, connection: sqlite3.Connection) -> None:
        """Write them."""
        _PUT_DELIVERIES.run(connection, self.values)
        if self.moved_inline:
            connection.execute(_FORGET_DELIVERIES, (ids_json(self.moved_inline),))


def put_tallies(connection: sqlite3.Connection, changes: Mapping[Tallied, int]) -> None:
    """Add to the counts per application, topic and status."""
    values: list[object] = []
    for (app, topic, status), change in changes.items():
        if change:
            values += (app, topic or 0, str(status), change)
    _PUT_TALLIES.run(connection, values)


def ids_json(ids: Sequence[str]) -> str:
    """Ids as the parameter of `json_each`."""
    return encode(ids).decode()


def _kept_inline(message: Message) -> Delivery | None:
    """The sole delivery where the message's own columns can tell all of it."""
    if len(message.deliveries) != 1:
        return None
    [sole] = message.deliveries
    if sole.status is not message.status or sole.settled_at != message.settled_at:
        return None
    if sole.due is not None and (message.due is not None or sole.due.kind in _OF_MESSAGE):
        return None
    return sole


def _tally_changes(moves: Mapping[_Move, int]) -> dict[Tallied, int]:
    changes: dict[Tallied, int] = {}
    for (app, topic, before, after), count in moves.items():
        if before is not None:
            changes[app, topic, before] = changes.get((app, topic, before), 0) - count
        changes[app, topic, after] = changes.get((app, topic, after), 0) + count
    return changes


def _usual(message: Message, sole: Delivery | None) -> tuple[object, ...]:
    due = message.due
    if due is None and sole is not None:
        due = sole.due
    return (
        message.id,
        message.app,
        message.topic,
        str(message.status),
        message.version,
        message.prepared_at,
        message.confirmed_at,
        message.settled_at,
        *((int(due.kind), due.lane, due.at) if due is not None else _NO_DUE),
        *((sole.subscription, sole.attempts, sole.sent_at, sole.pulled_at) if sole is not None else _NO_DELIVERY),
    )


def _rare(message: Message, sole: Delivery | None) -> tuple[object, ...]:
    return (
        message.deliver_at,
        message.checks,
        message.checked_at,
        message.error,
        message.resolved_by,
        message.replay_of,
        sole.refusals if sole is not None else 0,
        sole.error if sole is not None else None,
        len(message.deliveries) if sole is None else 0,
    )


def _delivery(message_id: str, position: int, delivery: Delivery) -> tuple[object, ...]:
    due = delivery.due
    return (
        message_id,
        position,
        delivery.subscription,
        str(delivery.status),
        delivery.attempts,
        delivery.refusals,
        delivery.sent_at,
        delivery.pulled_at,
        delivery.settled_at,
        delivery.error,
        *((int(due.kind), due.lane, due.at) if due is not None else _NO_DUE),
    )
