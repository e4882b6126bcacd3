"""How many messages there are, and how old the oldest is that is not settled."""

import sqlite3
from typing import Final

import msgspec

from aftercommit.domain.lifecycle import PARKED, Status
from aftercommit.domain.message import DueKind
from aftercommit.ports.store import Tally
from aftercommit.stores.sqlite import schema
from aftercommit.stores.sqlite.due import due_lanes
from aftercommit.stores.sqlite.rows import encode

# How many messages are looked at per lane, longest due first, and per parked status, to find the oldest.
SAMPLE: Final = 500

_COUNTS: Final = """
    SELECT json_group_array(json_array(app, nullif(topic, 0), status, count, NULL)) FROM tally WHERE count > 0"""
_OLDEST_WAITING: Final = f"""
    SELECT json_group_array(json_array(app, topic, status, 0, oldest)) FROM (
        SELECT m.app, m.topic, m.status, min(m.prepared_at) AS oldest
        FROM (SELECT json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS number
            FROM json_each(?)) AS lane
        CROSS JOIN message AS m ON m.id IN (
            SELECT * FROM (SELECT id FROM message WHERE due_kind = lane.kind AND due_lane = lane.number
                AND due_at IS NOT NULL ORDER BY due_at LIMIT {SAMPLE})
            UNION ALL
            SELECT * FROM (SELECT message_id FROM delivery WHERE due_kind = lane.kind AND due_lane = lane.number
                AND due_at IS NOT NULL ORDER BY due_at LIMIT {SAMPLE}))
        GROUP BY m.app, m.topic, m.status)"""
_OLDEST_PARKED: Final = f"""
    SELECT json_group_array(json_array(app, topic, status, 0, oldest)) FROM (
        SELECT app, topic, status, min(prepared_at) AS oldest FROM (
            SELECT app, topic, status, prepared_at FROM message INDEXED BY message_trouble
            WHERE status {schema.IN_TROUBLE} AND status = ? ORDER BY prepared_at, id LIMIT {SAMPLE})
        GROUP BY app, topic, status)"""


class _Row(msgspec.Struct, array_like=True, gc=False):
    app: int
    topic: int | None
    status: Status
    count: int
    oldest_at: int | None


_decode: Final = msgspec.json.Decoder(list[_Row]).decode


def tallies(connection: sqlite3.Connection) -> list[Tally]:
    """Counts from the table kept for it. The oldest is that of the messages due longest, which it nearly always is."""
    oldest: dict[tuple[int, int | None, Status], int] = {}
    for each in _oldest(connection):
        if each.oldest_at is not None:
            key = (each.app, each.topic, each.status)
            oldest[key] = min(each.oldest_at, oldest.get(key, each.oldest_at))
    counts = _decode(connection.execute(_COUNTS).fetchone()[0])
    return [
        Tally(
            app=each.app,
            topic=each.topic,
            status=each.status,
            count=each.count,
            oldest_at=oldest.get((each.app, each.topic, each.status)),
        )
        for each in counts
    ]


def _oldest(connection: sqlite3.Connection) -> list[_Row]:
    lanes = [(each.kind, each.lane) for kind in DueKind for each in due_lanes(connection, kind)]
    found = _decode(connection.execute(_OLDEST_WAITING, (encode(lanes).decode(),)).fetchone()[0])
    for status in PARKED:
        found += _decode(connection.execute(_OLDEST_PARKED, (status.value,)).fetchone()[0])
    return found
