"""Lists of messages, newest first, at a cost that does not grow with what is stored."""

import sqlite3
from typing import Final, NamedTuple

import msgspec

from aftercommit.domain.catalog import Catalog
from aftercommit.ports.store import Listed, Page, Search
from aftercommit.stores.sqlite import schema
from aftercommit.stores.sqlite.rows import encode

# Rows of the list that one call looks at, at most: some tens of milliseconds.
LOOKED_AT_MAX: Final = 20_000

_LOWEST: Final = (-1, "")
_HIGHEST: Final = (2**63 - 1, "")
_RECORD: Final = f"""json_object('message', {schema.message_json("m.version")}, 'key', c."key")"""
_decode_listed: Final = msgspec.json.Decoder(list[Listed]).decode


class _Conditions(NamedTuple):
    """Conditions that all hold, with the values of their question marks."""

    texts: list[str]
    values: list[object]

    def add(self, text: str, *values: object) -> None:
        self.texts.append(text)
        self.values.extend(values)

    def __str__(self) -> str:
        return " AND ".join(self.texts)


def search(connection: sqlite3.Connection, search: Search, catalog: Catalog) -> Page:
    """A page of messages."""
    index, status = "message_list", _Conditions([], [])
    if search.status in schema.TROUBLE and search.status is not None:
        index = "message_trouble"
        status.add(f"m.status {schema.IN_TROUBLE}")
        status.add("m.status = ?", search.status.value)
    wanted = _wanted(search, catalog)
    place = _place(search, status)
    end = _end(connection, index, place) if wanted.texts else None
    if end is not None:
        place = _place(search, status, end)
    place.texts.extend(wanted.texts)
    [found] = connection.execute(
        f"""SELECT json_group_array(json(record)) FROM (
            SELECT {_RECORD} AS record FROM message AS m INDEXED BY {index} LEFT JOIN content AS c ON c.id = m.id
            WHERE {place} ORDER BY m.prepared_at DESC, m.id DESC LIMIT ?)""",
        (*place.values, *wanted.values, search.limit + 1),
    ).fetchone()
    listed = _decode_listed(found)
    if len(listed) > search.limit:
        listed = listed[: search.limit]
        last = listed[-1].message
        end = (last.prepared_at, last.id)
    return Page(messages=tuple(listed), next_after=end)


def _place(search: Search, status: _Conditions, end: tuple[int, str] | None = None) -> _Conditions:
    """The part of the index to walk: one condition for each of its ends, because of several SQLite takes only one."""
    lowest = max(end or _LOWEST, (search.since or 0, ""))
    highest = min(search.after or _HIGHEST, _HIGHEST if search.until is None else (search.until, ""))
    place = _Conditions([*status.texts], [*status.values])
    place.add("(m.prepared_at, m.id) >= (?, ?)", *lowest)
    place.add("(m.prepared_at, m.id) < (?, ?)", *highest)
    return place


def _wanted(search: Search, catalog: Catalog) -> _Conditions:
    """What each message on the way is asked."""
    wanted = _Conditions([], [])
    if search.status is not None and search.status not in schema.TROUBLE:
        wanted.add("m.status = ?", search.status.value)
    if search.app is not None:
        wanted.add("m.app = ?", search.app)
    if search.topics is not None:
        wanted.add("m.topic IN (SELECT value FROM json_each(?))", encode(search.topics).decode())
    if search.key is not None:
        wanted.add('c."key" = ?', search.key)
    if search.error is not None:
        wanted.add("instr(m.error, ?) > 0", search.error)
    if search.text is not None:
        anywhere = 'instr(m.id, ?) > 0 OR instr(c."key", ?) > 0 OR instr(m.error, ?) > 0'
        wanted.add(f"({anywhere})", search.text, search.text, search.text)
    if search.visible_to is not None:
        mine = [each.id for each in catalog.subscriptions.values() if each.app == search.visible_to]
        subscriptions = encode(mine).decode()
        wanted.add(
            """(m.app = ? OR m.subscription IN (SELECT value FROM json_each(?))
                OR m.delivery_rows > 0 AND EXISTS (SELECT 1 FROM delivery AS d
                    WHERE d.message_id = m.id AND d.subscription IN (SELECT value FROM json_each(?))))""",
            search.visible_to,
            subscriptions,
            subscriptions,
        )
    return wanted


def _end(connection: sqlite3.Connection, index: str, place: _Conditions) -> tuple[int, str] | None:
    """The last row this call may look at; None where there are fewer."""
    found = connection.execute(
        f"""SELECT m.prepared_at, m.id FROM message AS m INDEXED BY {index}
            WHERE {place} ORDER BY m.prepared_at DESC, m.id DESC LIMIT 1 OFFSET {LOOKED_AT_MAX - 1}""",
        place.values,
    ).fetchone()
    return None if found is None else (found[0], found[1].decode())
