"""Forgetting settled messages: found beside the writer, removed by it."""

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.lifecycle import TERMINAL, Status
from aftercommit.domain.policies import MS
from aftercommit.stores.columns import Tallied
from aftercommit.stores.sqlite import rows, schema

# Rows of the list that one call looks at, at most.
LOOKED_AT_MAX: Final = 50_000

Place = tuple[int, str]
_SETTLED: Final = f"status IN {schema.one_of(TERMINAL)}"

# One condition for each end of the walk: of several SQLite takes one, and with the wrong one it would walk to the end.
_BETWEEN: Final = "(m.prepared_at, m.id) >= (?1, ?2) AND (m.prepared_at, m.id) < (?3, ?4)"
# What was settled at ?5 or before is over in most topics; ?6 has [topic, time] of the others.
_OVER: Final = f"""
    SELECT json_group_array(json_array(prepared_at, id)) FROM (
        SELECT m.prepared_at, m.id FROM message AS m INDEXED BY message_list
        LEFT JOIN (SELECT json_extract(value, '$[0]') AS topic, json_extract(value, '$[1]') AS over_at
            FROM json_each(?6)) AS own ON own.topic = m.topic
        WHERE {_BETWEEN} AND m.{_SETTLED} AND m.settled_at <= ifnull(own.over_at, ?5)
        ORDER BY m.prepared_at, m.id LIMIT ?7)"""
_END: Final = f"""
    SELECT m.prepared_at, m.id FROM message AS m INDEXED BY message_list
    WHERE {_BETWEEN} ORDER BY m.prepared_at, m.id LIMIT 1 OFFSET ?5"""
_STILL_THERE: Final = f"""
    SELECT json_group_array(json_array(m.id, m.app, m.topic, m.status))
    FROM json_each(?) AS wanted CROSS JOIN message AS m ON m.id = wanted.value AND m.{_SETTLED}"""
_REMOVALS: Final = (
    "DELETE FROM content WHERE id IN (SELECT value FROM json_each(?))",
    "DELETE FROM delivery WHERE message_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM event WHERE message_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))",
)
_BEGINNING: Final = (-1, "")

_decode_places: Final = msgspec.json.Decoder(list[Place]).decode
_decode_rows: Final = msgspec.json.Decoder(list[tuple[str, int, int | None, Status]]).decode


class Over(NamedTuple):
    """Messages to forget, and where to go on looking (None: from the beginning again)."""

    ids: list[str]
    go_on: Place | None


def find_over(connection: sqlite3.Connection, catalog: Catalog, now: int, limit: int, begin: Place | None) -> Over:
    """Up to `limit` messages that nobody keeps any longer, oldest prepared first from `begin` on."""
    most = now - round(catalog.policy(None).retention_seconds * MS)
    own = {each: now - round(catalog.policy(each).retention_seconds * MS) for each in catalog.topics}
    # Nothing is settled before it is prepared, so that nothing prepared later can be over.
    latest = (max([most, *own.values()]) + 1, "")
    begin = begin or _BEGINNING
    found = connection.execute(_END, (*begin, *latest, LOOKED_AT_MAX)).fetchone()
    end = None if found is None else (found[0], found[1].decode())
    others = rows.encode([(topic, at) for topic, at in own.items() if at != most]).decode()
    [over] = connection.execute(_OVER, (*begin, *(end or latest), most, others, limit)).fetchone()
    places = _decode_places(over)
    return Over([each for _at, each in places], places[-1] if len(places) == limit else end)


def remove(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    """Remove what of `ids` is settled, with everything that belongs to it; how many messages that were."""
    [found] = connection.execute(_STILL_THERE, (rows.ids_json(ids),)).fetchone()
    settled = _decode_rows(found)
    changes: dict[Tallied, int] = {}
    for _id, app, topic, status in settled:
        changes[app, topic, status] = changes.get((app, topic, status), 0) - 1
    gone = rows.ids_json([each[0] for each in settled])
    for statement in _REMOVALS:
        connection.execute(statement, (gone,))
    rows.put_tallies(connection, changes)
    return len(settled)
