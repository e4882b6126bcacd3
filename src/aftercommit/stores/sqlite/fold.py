"""Folds driven over this store's rows: what they ask is read, what they change is written, in one transaction."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aftercommit.domain import commands as c
from aftercommit.domain.errors import Inconsistency
from aftercommit.domain.step import Context
from aftercommit.ports.store import Result
from aftercommit.stores import fold
from aftercommit.stores.sqlite import due, rows, schema

_REPLAYS: Final = f"""
    SELECT json_group_array(m.id) FROM json_each(?) AS original
    CROSS JOIN message AS m ON m.replay_of = original.value AND m.status {schema.IN_LIVE}"""
_COPY_CONTENTS: Final = """
    INSERT INTO content (id, content_type, form, "key", headers, check_hint, traceparent, fingerprint, payload)
    SELECT json_extract(value, '$[0]'),
        content_type, form, c."key", headers, check_hint, traceparent, fingerprint, payload
    FROM json_each(?) CROSS JOIN content AS c ON c.id = json_extract(value, '$[1]')"""


def write_work(connection: sqlite3.Connection, context: Context, work: Sequence[c.Work]) -> list[Result]:
    """Do all of `work` in order, and write it."""
    folded = fold.Fold(context)
    results = fold.answered(folded.run(work), partial(_answer, connection, context.now))
    write_changes(connection, folded.changes)
    return results


def load_into(connection: sqlite3.Connection, folded: fold.Fold, ids: Iterable[str]) -> None:
    """Let a fold know the states of these messages."""
    folded.keep(rows.next_states(connection, ids))


def write_changes(connection: sqlite3.Connection, changes: fold.Changes) -> None:
    """Write what changed. Raises `Inconsistency` where a row is not as it was loaded."""
    if changes.changed:
        rows.put_messages(connection, changes.changed, changes.stored)
        rows.put_contents(connection, changes.contents)
        _copy_contents(connection, changes.copies)
    rows.put_events(connection, changes.events)


def _answer(connection: sqlite3.Connection, now: int, question: fold.Question) -> Any:
    match question:
        case fold.States(ids, _):
            return rows.next_states(connection, ids)
        case fold.DueNow(kind, lane, limit, without):
            return due.due_messages(connection, kind, lane, now, limit=limit, without=without)
        case fold.Fingerprints(ids):
            return rows.fingerprints(connection, ids)
        case fold.Contents(ids):
            return rows.contents(connection, ids)
        case fold.Replays(originals):
            return _replays(connection, originals)


def _replays(connection: sqlite3.Connection, originals: Collection[str]) -> list[str]:
    [found] = connection.execute(_REPLAYS, (rows.ids_json(list(originals)),)).fetchone()
    return rows.decode_ids(found)


def _copy_contents(connection: sqlite3.Connection, copies: Mapping[str, str]) -> None:
    if not copies:
        return
    pairs = rows.encode(list(copies.items())).decode()
    copied = connection.execute(_COPY_CONTENTS, (pairs,)).rowcount
    if copied != len(copies):
        raise Inconsistency(f"{len(copies) - copied} messages to send again have no content to copy.")
