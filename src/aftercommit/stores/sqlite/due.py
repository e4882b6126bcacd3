"""Finding what is due, through the two indexes over due times."""

import re
import sqlite3
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import msgspec

from aftercommit.domain.message import DueKind, Message
from aftercommit.ports.store import DueLane
from aftercommit.stores.sqlite import schema
from aftercommit.stores.sqlite.rows import decode_messages, ids_json

# Each index gives its own longest due; of both together the longest due are taken, and the time of the first that is
# left over is told. The rows come in the order of `due`, because it is made first and walked once.
_DUE: Final = f"""
    WITH due (id) AS MATERIALIZED (
        SELECT id FROM (
            SELECT * FROM (SELECT id, due_at AS at FROM message
                WHERE due_kind = ?1 AND due_lane = ?2 AND due_at <= ?3 AND id NOT IN (PASSED_OVER)
                ORDER BY due_at, id LIMIT ?4)
            UNION ALL
            SELECT * FROM (SELECT message_id, due_at FROM delivery
                WHERE due_kind = ?1 AND due_lane = ?2 AND due_at <= ?3 AND message_id NOT IN (PASSED_OVER)
                ORDER BY due_at, message_id LIMIT ?4))
        GROUP BY id ORDER BY min(at), id LIMIT ?4)
    SELECT
        (SELECT json_group_array({schema.message_json("m.version + 1")})
            FROM due CROSS JOIN message AS m ON m.id = due.id),
        (SELECT min(due_at) FROM message
            WHERE due_kind = ?1 AND due_lane = ?2 AND due_at IS NOT NULL
                AND id NOT IN (SELECT id FROM due) AND id NOT IN (PASSED_OVER)),
        (SELECT min(due_at) FROM delivery
            WHERE due_kind = ?1 AND due_lane = ?2 AND due_at IS NOT NULL
                AND message_id NOT IN (SELECT id FROM due) AND message_id NOT IN (PASSED_OVER))"""
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
        ifnull((SELECT min(due_at) FROM message WHERE due_kind = ?1 AND due_lane = lane), {_NEVER}),
        ifnull((SELECT min(due_at) FROM delivery WHERE due_kind = ?1 AND due_lane = lane), {_NEVER}))))
    FROM (SELECT lane FROM of_message UNION SELECT lane FROM of_delivery) WHERE lane IS NOT NULL"""

_decode_lanes: Final = msgspec.json.Decoder(list[tuple[DueKind, int, int]]).decode


class Due(NamedTuple):
    """What is due in a lane, the longest due first, then by id; and when the first that was left over is due."""

    messages: list[Message]
    next_at: int | None


def due_messages(
    connection: sqlite3.Connection, kind: DueKind, lane: int, now: int, *, limit: int, without: Collection[str]
) -> Due:
    """Up to `limit` messages that are due, as if those of `without` were not there, with their next versions."""
    values = (int(kind), lane, now, limit)
    if without:
        row = connection.execute(_DUE_WITHOUT, (*values, ids_json(list(without)))).fetchone()
    else:
        row = connection.execute(_DUE_OF_ALL, values).fetchone()
    messages, *left_over = row
    return Due(decode_messages(messages), earliest(left_over))


def earliest(times: Iterable[int | None]) -> int | None:
    """The first of the times that there are."""
    return min((each for each in times if each is not None), default=None)


def due_lanes(connection: sqlite3.Connection, kind: DueKind) -> list[DueLane]:
    """The lanes in which work of a kind waits, with their oldest due times."""
    [lanes] = connection.execute(_LANES, (int(kind),)).fetchone()
    return [DueLane(kind=kind, lane=lane, at=at) for kind, lane, at in _decode_lanes(lanes)]


def due_at(message: Message, kind: DueKind, lane: int) -> int | None:
    """When a message's first work of that kind and lane is due."""
    dues = [message.due, *(each.due for each in message.deliveries)]
    return earliest(each.at for each in dues if each is not None and each.kind is kind and each.lane == lane)
