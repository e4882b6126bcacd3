"""Finding what is due, through the two indexes over due times."""

import re
import sqlite3
from collections.abc import Collection
from typing import Final

import msgspec

from aftercommit.domain.message import DueKind
from aftercommit.ports.store import DueLane
from aftercommit.stores.due import Due, earliest, longest_due
from aftercommit.stores.sqlite import schema
from aftercommit.stores.sqlite.rows import decode_messages, ids_json

_LANE: Final = "due_kind = ?1 AND due_lane = ?2"
# Due work of messages themselves, which includes their sole deliveries: a walk along the index. Then the time of the
# first that is left over: due already but beyond the limit, or else due later.
_OF_MESSAGES: Final = f"""
    SELECT
        (SELECT json_group_array({schema.message_json("m.version + 1")}) FROM (
                SELECT id FROM message WHERE {_LANE} AND due_at <= ?3 AND id NOT IN (PASSED_OVER)
                ORDER BY due_at, id LIMIT ?4) AS due
            CROSS JOIN message AS m ON m.id = due.id),
        (SELECT due_at FROM message WHERE {_LANE} AND due_at <= ?3 AND id NOT IN (PASSED_OVER)
            ORDER BY due_at, id LIMIT 1 OFFSET ?4),
        (SELECT min(due_at) FROM message WHERE {_LANE} AND due_at > ?3 AND id NOT IN (PASSED_OVER))"""
# The same of deliveries that are rows of their own. Several of them may be one message's, which counts once.
_OF_DELIVERIES: Final = f"""
        (SELECT json_group_array({schema.message_json("m.version + 1")})
            FROM apart CROSS JOIN message AS m ON m.id = apart.id),
        (SELECT min(due_at) FROM delivery WHERE {_LANE} AND due_at IS NOT NULL
            AND message_id NOT IN (SELECT id FROM apart) AND message_id NOT IN (PASSED_OVER))"""
_DUE: Final = f"""
    WITH apart (id) AS MATERIALIZED (
        SELECT message_id FROM (
            SELECT message_id, due_at FROM delivery
            WHERE {_LANE} AND due_at <= ?3 AND message_id NOT IN (PASSED_OVER)
            ORDER BY due_at, message_id LIMIT ?4)
        GROUP BY message_id)
    {_OF_MESSAGES}, {_OF_DELIVERIES}"""
_DUE_OF_ALL: Final = re.sub(r"AND \w+ NOT IN \(PASSED_OVER\)", "", _DUE)
_DUE_WITHOUT: Final = _DUE.replace("PASSED_OVER", "SELECT value FROM json_each(?5)")

# From lane to lane by one seek each, whatever waits inside them.
_NEVER: Final = 2**63 - 1
_LANES: Final = f"""
    WITH RECURSIVE
    of_message (lane) AS (
        SELECT min(due_lane) FROM message WHERE due_kind = ?1 AND due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(due_lane) FROM message
            WHERE due_kind = ?1 AND due_lane > of_message.lane AND due_at IS NOT NULL)
        FROM of_message WHERE lane IS NOT NULL),
    of_delivery (lane) AS (
        SELECT min(due_lane) FROM delivery WHERE due_kind = ?1 AND due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(due_lane) FROM delivery
            WHERE due_kind = ?1 AND due_lane > of_delivery.lane AND due_at IS NOT NULL)
        FROM of_delivery WHERE lane IS NOT NULL)
    SELECT json_group_array(json_array(?1, lane, min(
        ifnull((SELECT min(due_at) FROM message
            WHERE due_kind = ?1 AND due_lane = lane AND due_at IS NOT NULL), {_NEVER}),
        ifnull((SELECT min(due_at) FROM delivery
            WHERE due_kind = ?1 AND due_lane = lane AND due_at IS NOT NULL), {_NEVER}))))
    FROM (SELECT lane FROM of_message UNION SELECT lane FROM of_delivery) WHERE lane IS NOT NULL"""

_NOTHING: Final = b"[]"
_decode_lanes: Final = msgspec.json.Decoder(list[tuple[DueKind, int, int]]).decode


def due_messages(
    connection: sqlite3.Connection, kind: DueKind, lane: int, now: int, *, limit: int, without: Collection[str]
) -> Due:
    """Up to `limit` messages that are due, as if those of `without` were not there, with their next versions."""
    values = (int(kind), lane, now, limit)
    if without:
        row = connection.execute(_DUE_WITHOUT, (*values, ids_json(list(without)))).fetchone()
    else:
        row = connection.execute(_DUE_OF_ALL, values).fetchone()
    of_messages, beyond, later, of_deliveries, left_over = row
    found = decode_messages(of_messages)
    next_at = earliest((beyond if beyond is not None else later, left_over))
    if of_deliveries == _NOTHING:
        # The rows come in the order of the walk: it is made first, and each of its rows is looked up once.
        return Due(found, next_at)
    every = {each.id: each for each in (*found, *decode_messages(of_deliveries))}
    return longest_due(every.values(), kind, lane, limit, next_at)


def due_lanes(connection: sqlite3.Connection, kind: DueKind) -> list[DueLane]:
    """The lanes in which work of a kind waits, with their oldest due times."""
    [lanes] = connection.execute(_LANES, (int(kind),)).fetchone()
    return [DueLane(kind=kind, lane=lane, at=at) for kind, lane, at in _decode_lanes(lanes)]
