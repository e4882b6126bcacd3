"""The statements of the hot path, one set of texts per dialect.

All that differs between the databases is here: how an array is given, how a row is locked, how rows are written in
bulk, and what each database must be told when a connection begins.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy.dialects import postgresql

from aftercommit.domain.lifecycle import LIVE
from aftercommit.stores import columns
from aftercommit.stores.sql.schema import metadata

MESSAGE: Final = (*columns.USUAL, *columns.RARE)
CONTENT: Final = (
    "id",
    "content_type",
    "form",
    "message_key",
    "headers",
    "check_hint",
    "traceparent",
    "fingerprint",
    "payload",
)
TALLY: Final = ("stripe", "app", "topic", "status", "messages")
NODE: Final = ("id", "address", "roles", "version", "started_at", "seen_at")

_LIVE: Final = ", ".join(sorted(repr(each.value) for each in LIVE))


def _assigned(names: Sequence[str]) -> tuple[str, ...]:
    """What an update sets; `version` last, because MySQL assigns from left to right and asks for it each time."""
    return (*(each for each in names if each not in columns.NEVER_CHANGED and each != "version"), "version")


class Put(NamedTuple):
    """Many rows by one statement: `head`, the rows, `tail`.

    On PostgreSQL the rows are one array per column and `head` holds all; on MySQL each row is `row`. `counted`: by how
    much a written row raises the number of affected rows.
    """

    head: str
    columns: tuple[str, ...]
    row: str = ""
    tail: str = ""
    counted: int = 1


class Statements(NamedTuple):
    """The texts. Ids are given as one array; a text that ends in `_ids` answers with ids only.

    `waits_for_duplicates`: whether an INSERT of a row that is there waits while somebody has that locked.
    """

    dialect: str
    waits_for_duplicates: bool
    lock_states: str
    look_states: str
    statuses: str
    deliveries: str
    due_messages: str
    due_deliveries: str
    fingerprints: str
    contents: str
    replay_ids: str
    copy_content: str
    forget_deliveries: str
    events: str
    insert_messages: Put
    insert_usual: Put
    update_messages: Put
    update_usual: Put
    insert_contents: Put
    put_deliveries: Put
    insert_events: Put
    add_tallies: Put
    put_node: Put
    lanes: str
    delivery_lanes: str
    clock: str
    lock_fact: str


_FACT: Final = "SELECT value FROM fact WHERE name = 'catalog'"
CATALOG_VERSION: Final = _FACT
PING: Final = "UPDATE fact SET value = value + 1 WHERE name = 'pings'"


def _listed(names: Sequence[str], alias: str, ids: str) -> str:
    """Columns of a table, ids as text."""
    texts = {"id", "message_id", "replay_of"}
    return ", ".join(ids.format(f"{alias}.{each}") if each in texts else f"{alias}.{each}" for each in names)


def _postgres_types(table: str) -> dict[str, str]:
    make: Any = postgresql.dialect
    dialect = make()
    of_table = metadata("postgresql").tables[table]
    return {each.name: each.type.compile(dialect).lower() for each in of_table.columns}


def _unnest(table: str, names: Sequence[str]) -> str:
    types = _postgres_types(table)
    return ", ".join(f"${number}::{types[each]}[]" for number, each in enumerate(names, 1))


def _postgres_insert(table: str, names: Sequence[str], tail: str = "") -> Put:
    head = f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({_unnest(table, names)}) {tail}"
    return Put(head.rstrip(), tuple(names))


def _postgres_update(names: tuple[str, ...]) -> Put:
    sets = ", ".join(f"{each} = new.{each}" for each in _assigned(names))
    head = (
        f"UPDATE message AS m SET {sets} FROM unnest({_unnest('message', names)}) AS new ({', '.join(names)})"
        " WHERE m.id = new.id AND m.version = new.version - 1"
    )
    return Put(head, names)


def _excluded(names: Sequence[str]) -> str:
    return ", ".join(f"{each} = excluded.{each}" for each in names)


def _postgres_lanes(table: str) -> str:
    """From lane to lane by one seek each, whatever waits inside them."""
    waiting = f"FROM {table} WHERE due_kind = $1 AND due_at IS NOT NULL"
    return f"""
        WITH RECURSIVE lane (number) AS (
            SELECT min(due_lane) {waiting}
            UNION ALL
            SELECT (SELECT min(due_lane) {waiting} AND due_lane > lane.number) FROM lane WHERE number IS NOT NULL)
        SELECT number, (SELECT min(due_at) {waiting} AND due_lane = lane.number) FROM lane WHERE number IS NOT NULL"""


def _postgres() -> Statements:
    ids = "{}::text"
    # Joined, not `= ANY`: only so does a plan that is kept look into the one partition of each id.
    wanted = "FROM unnest($1::uuid[]) AS wanted (id) JOIN {} AS {} ON {} = wanted.id"
    message = wanted.format("message", "m", "m.id")
    content = wanted.format("content", "c", "c.id")
    delivery = wanted.format("delivery", "d", "d.message_id")
    event = wanted.format("event", "e", "e.message_id")
    states = f"SELECT {_listed(MESSAGE, 'm', ids)} {message}"
    return Statements(
        dialect="postgresql",
        waits_for_duplicates=False,
        lock_states=f"{states} ORDER BY m.id FOR UPDATE OF m SKIP LOCKED",
        look_states=states,
        statuses=f"SELECT m.id::text, m.status {message}",
        deliveries=f"SELECT {_listed(columns.DELIVERY, 'd', ids)} {delivery} ORDER BY d.message_id, d.position",
        due_messages="""
            SELECT id::text, due_at FROM message
            WHERE due_kind = $1 AND due_lane = $2 AND due_at IS NOT NULL AND (due_at, id) > ($3, $4::uuid)
            ORDER BY due_at, id LIMIT $5""",
        due_deliveries="""
            SELECT message_id::text, due_at FROM delivery
            WHERE due_kind = $1 AND due_lane = $2 AND due_at IS NOT NULL AND (due_at, message_id) > ($3, $4::uuid)
            ORDER BY due_at, message_id LIMIT $5""",
        fingerprints=f"SELECT c.id::text, c.fingerprint {content}",
        contents=f"SELECT {_listed(CONTENT, 'c', ids)} {content}",
        replay_ids=f"""
            SELECT m.id::text {wanted.format("message", "m", "m.replay_of")} AND m.replay_of IS NOT NULL
            AND m.status IN ({_LIVE})""",
        copy_content=f"""
            INSERT INTO content ({", ".join(CONTENT)})
            SELECT $1::uuid, {_listed(CONTENT[1:], "c", ids)} FROM content AS c WHERE c.id = $2::uuid""",
        forget_deliveries="DELETE FROM delivery WHERE message_id = ANY($1::uuid[])",
        events=f"SELECT {_listed(columns.EVENT, 'e', ids)} {event} ORDER BY e.message_id, e.number",
        insert_messages=_postgres_insert("message", MESSAGE),
        insert_usual=_postgres_insert("message", columns.USUAL),
        update_messages=_postgres_update(MESSAGE),
        update_usual=_postgres_update(columns.USUAL),
        insert_contents=_postgres_insert("content", CONTENT),
        put_deliveries=_postgres_insert(
            "delivery",
            columns.DELIVERY,
            f"ON CONFLICT (message_id, position) DO UPDATE SET {_excluded(columns.DELIVERY[2:])}",
        ),
        insert_events=_postgres_insert("event", columns.EVENT),
        add_tallies=_postgres_insert(
            "tally",
            TALLY,
            "ON CONFLICT (stripe, app, topic, status) DO UPDATE SET messages = tally.messages + excluded.messages",
        ),
        put_node=_postgres_insert("node", NODE, f"ON CONFLICT (id) DO UPDATE SET {_excluded(NODE[1:])}"),
        lanes=_postgres_lanes("message"),
        delivery_lanes=_postgres_lanes("delivery"),
        clock="SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        lock_fact="SELECT value FROM fact WHERE name = $1 FOR UPDATE",
    )


def _mysql_insert(table: str, names: Sequence[str], tail: str = "", counted: int = 1) -> Put:
    row = f"({', '.join(['%s'] * len(names))})"
    return Put(f"INSERT INTO {table} ({', '.join(names)}) VALUES ", tuple(names), row, tail, counted)


def _values(names: Sequence[str]) -> str:
    return "ON DUPLICATE KEY UPDATE " + ", ".join(f"{each} = VALUES({each})" for each in names)


def _mysql_update(names: tuple[str, ...]) -> Put:
    """An INSERT that always meets its row: it is locked already, and no other way takes many rows on both databases."""
    sets = ", ".join(f"{each} = IF(version = VALUES(version) - 1, VALUES({each}), {each})" for each in _assigned(names))
    return _mysql_insert("message", names, f" ON DUPLICATE KEY UPDATE {sets}", counted=2)


def _mysql_lanes(table: str) -> str:
    """MySQL goes from group to group of an index by itself."""
    return f"SELECT due_lane, min(due_at) FROM {table} WHERE due_kind = %s GROUP BY due_lane"


def _mysql() -> Statements:
    ids = "{}"
    states = f"SELECT {_listed(MESSAGE, 'm', ids)} FROM message AS m WHERE m.id IN %s"
    return Statements(
        dialect="mysql",
        waits_for_duplicates=True,
        lock_states=f"{states} ORDER BY m.id FOR UPDATE SKIP LOCKED",
        look_states=states,
        statuses="SELECT id, status FROM message WHERE id IN %s",
        deliveries=f"""
            SELECT {_listed(columns.DELIVERY, "d", ids)} FROM delivery AS d WHERE d.message_id IN %s
            ORDER BY d.message_id, d.position""",
        due_messages="""
            SELECT id, due_at FROM message
            WHERE due_kind = %s AND due_lane = %s AND due_at IS NOT NULL AND (due_at, id) > (%s, %s)
            ORDER BY due_at, id LIMIT %s""",
        due_deliveries="""
            SELECT message_id, due_at FROM delivery
            WHERE due_kind = %s AND due_lane = %s AND due_at IS NOT NULL AND (due_at, message_id) > (%s, %s)
            ORDER BY due_at, message_id LIMIT %s""",
        fingerprints="SELECT id, fingerprint FROM content WHERE id IN %s",
        contents=f"SELECT {', '.join(CONTENT)} FROM content WHERE id IN %s",
        replay_ids=f"SELECT id FROM message WHERE replay_of IN %s AND status IN ({_LIVE})",
        copy_content=f"""
            INSERT INTO content ({", ".join(CONTENT)})
            SELECT %s, {", ".join(CONTENT[1:])} FROM content AS c WHERE c.id = %s""",
        forget_deliveries="DELETE FROM delivery WHERE message_id IN %s",
        events=f"SELECT {', '.join(columns.EVENT)} FROM event WHERE message_id IN %s ORDER BY number",
        insert_messages=_mysql_insert("message", MESSAGE),
        insert_usual=_mysql_insert("message", columns.USUAL),
        update_messages=_mysql_update(MESSAGE),
        update_usual=_mysql_update(columns.USUAL),
        insert_contents=_mysql_insert("content", CONTENT),
        put_deliveries=_mysql_insert("delivery", columns.DELIVERY, f" {_values(columns.DELIVERY[2:])}"),
        insert_events=_mysql_insert("event", columns.EVENT),
        add_tallies=_mysql_insert("tally", TALLY, " ON DUPLICATE KEY UPDATE messages = messages + VALUES(messages)"),
        put_node=_mysql_insert("node", NODE, f" {_values(NODE[1:])}"),
        lanes=_mysql_lanes("message"),
        delivery_lanes=_mysql_lanes("delivery"),
        clock="SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
        lock_fact="SELECT value FROM fact WHERE name = %s FOR UPDATE",
    )


POSTGRES: Final = _postgres()
MYSQL: Final = _mysql()
