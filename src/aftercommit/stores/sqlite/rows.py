"""Records to rows and rows to records.

Reading: a query answers with one row of JSON for all its records, which msgspec decodes in C. Writing: the values of
all rows in one list, for `statements.Insert`.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from aftercommit.domain.errors import Inconsistency
from aftercommit.domain.message import Content, Message, PayloadForm, TimelineEvent
from aftercommit.stores import columns
from aftercommit.stores.sqlite import schema
from aftercommit.stores.sqlite.statements import Insert

encode: Final = msgspec.json.encode
decode_message: Final = msgspec.json.Decoder(Message).decode
decode_messages: Final = msgspec.json.Decoder(list[Message]).decode
decode_events: Final = msgspec.json.Decoder(tuple[TimelineEvent, ...]).decode
decode_ids: Final = msgspec.json.Decoder(list[str]).decode

_CHANGED: Final = [each for each in (*columns.USUAL, *columns.RARE) if each not in columns.NEVER_CHANGED]
# New rows and changed ones by one statement. A changed row must still have the version that was loaded: where it has
# not, nothing is written and the number of rows written tells.
_PUT_MESSAGES: Final = Insert(
    "message",
    (*columns.USUAL, *columns.RARE),
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in _CHANGED)}"
    " WHERE version = excluded.version - 1",
)
# The same for lives that never used the rare columns, which is nearly all of them: two thirds of the time.
_PUT_USUAL_MESSAGES: Final = Insert(
    "message",
    columns.USUAL,
    "ON CONFLICT (id) DO UPDATE SET"
    f" {', '.join(f'{each} = excluded.{each}' for each in _CHANGED if each in columns.USUAL)}"
    " WHERE version = excluded.version - 1",
)
_PUT_DELIVERIES: Final = Insert(
    "delivery",
    columns.DELIVERY,
    "ON CONFLICT (message_id, position) DO UPDATE SET"
    f" {', '.join(f'{each} = excluded.{each}' for each in columns.DELIVERY[2:])}",
)
# A sole delivery that was apart is inline again.
_FORGET_DELIVERIES: Final = "DELETE FROM delivery WHERE message_id IN (SELECT value FROM json_each(?))"
_PUT_CONTENTS: Final = Insert("content", schema.CONTENT)
_PUT_EVENTS: Final = Insert("event", columns.EVENT)
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
    for message_id, each in changed.items():
        known = stored.get(message_id)
        sole = columns.kept_inline(each)
        row, rare = columns.usual_values(each, sole), columns.rare_values(each, sole)
        known_rare = columns.NO_RARE if known is None else columns.rare_values(known, columns.kept_inline(known))
        if rare == known_rare:
            usual += row
        else:
            whole += row
            whole += rare
        if rare[-1] or known_rare[-1]:
            deliveries.add(each, known if known_rare[-1] else None, apart=sole is None)
    written = _PUT_USUAL_MESSAGES.run(connection, usual) + _PUT_MESSAGES.run(connection, whole)
    if written != len(changed):
        missing = len(changed) - written
        raise Inconsistency(f"{missing} of {len(changed)} messages had changed between their reading and writing.")
    deliveries.write(connection)
    put_tallies(connection, columns.tally_changes(changed, stored))


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
        for values in columns.changed_deliveries(message, known):
            self.values.extend(values)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write them."""
        _PUT_DELIVERIES.run(connection, self.values)
        if self.moved_inline:
            connection.execute(_FORGET_DELIVERIES, (ids_json(self.moved_inline),))


def put_tallies(connection: sqlite3.Connection, changes: Mapping[columns.Tallied, int]) -> None:
    """Add to the counts per application, topic and status."""
    values: list[object] = []
    for (app, topic, status), change in changes.items():
        values += (app, topic or 0, str(status), change)
    _PUT_TALLIES.run(connection, values)


def ids_json(ids: Sequence[str]) -> str:
    """Ids as the parameter of `json_each`."""
    return encode(ids).decode()
