"""The tables that the first version for PostgreSQL, MySQL and MariaDB has.

What is described here never follows `schema.py`: it says what was made, not what is wanted now.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

from aftercommit.stores.sql.migrations.again import create_index, create_table

revision = "0001"
down_revision = None

_MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
_ASCII = {"charset": "ascii", "collation": "ascii_bin"}
_ID = sa.String(36).with_variant(postgresql.UUID(), "postgresql").with_variant(mysql.CHAR(36, **_ASCII), "mysql")
_WORD = sa.String(32).with_variant(mysql.VARCHAR(32, **_ASCII), "mysql")
_LONG = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")

_BUSY = {"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"}
_WRITTEN_ONCE = {"autovacuum_vacuum_insert_scale_factor": "0.5"}
# Few rows, each changed all the time: room for the next version of each, and dead ones cleared away soon.
_HOT = {"fillfactor": "50", "autovacuum_vacuum_threshold": "50", "autovacuum_vacuum_scale_factor": "0.02"}
_HOT |= {"autovacuum_vacuum_cost_delay": "0"}

_TROUBLE = "status IN ('undecided', 'undelivered', 'failed')"


def upgrade() -> None:
    """Make everything, in a database that has none of it."""
    _message()
    _content()
    _delivery()
    _event()
    _counters()
    _catalogue()
    _node()
    # Last, together with the version's number: on MySQL what creates something also commits.
    fact = sa.table("fact", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    rows = [("next_id", 1), ("catalog", 0), ("pings", 0)]
    op.bulk_insert(fact, [{"name": name, "value": value} for name, value in rows])


def _message() -> None:
    columns = [
        sa.Column("id", _ID, nullable=False),
        sa.Column("app", sa.Integer, nullable=False),
        sa.Column("topic", sa.Integer),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("prepared_at", sa.BigInteger, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("due_kind", sa.SmallInteger),
        sa.Column("due_lane", sa.Integer),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("subscription", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("pulled_at", sa.BigInteger),
        sa.Column("deliver_at", sa.BigInteger),
        sa.Column("checks", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("checked_at", sa.BigInteger),
        sa.Column("error", _LONG),
        sa.Column("resolved_by", _LONG),
        sa.Column("replay_of", _ID),
        sa.Column("refusals", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("delivery_error", _LONG),
        sa.Column("delivery_rows", sa.Integer, nullable=False, server_default=sa.text("0")),
    ]
    if not _on_postgres():
        # No index of MySQL's leaves rows out: a column that is NULL for nearly all of them does.
        trouble = f"CASE WHEN {_TROUBLE} THEN status END"
        columns.append(sa.Column("trouble", _WORD, sa.Computed(trouble, persisted=False)))
    _partitioned("message", "id", *columns, sa.PrimaryKeyConstraint("id"), storage=_BUSY)
    create_index(
        "message_due",
        "message",
        ["due_kind", "due_lane", "due_at", "id"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    create_index("message_list", "message", ["prepared_at", "id"])
    first = "status" if _on_postgres() else "trouble"
    create_index("message_trouble", "message", [first, "prepared_at", "id"], postgresql_where=sa.text(_TROUBLE))
    create_index("message_replay", "message", ["replay_of"], postgresql_where=sa.text("replay_of IS NOT NULL"))


def _content() -> None:
    _partitioned(
        "content",
        "id",
        sa.Column("id", _ID, nullable=False),
        sa.Column("content_type", _LONG, nullable=False),
        sa.Column("form", _WORD, nullable=False),
        sa.Column("message_key", sa.String(128)),
        sa.Column("headers", _LONG, nullable=False),
        sa.Column("check_hint", _BYTES),
        sa.Column("traceparent", _LONG),
        sa.Column("fingerprint", _BYTES, nullable=False),
        sa.Column("payload", _BYTES, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        storage=_WRITTEN_ONCE,
    )


def _delivery() -> None:
    _partitioned(
        "delivery",
        "message_id",
        sa.Column("message_id", _ID, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("subscription", sa.Integer, nullable=False),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("pulled_at", sa.BigInteger),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("error", _LONG),
        sa.Column("due_kind", sa.SmallInteger),
        sa.Column("due_lane", sa.Integer),
        sa.Column("due_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("message_id", "position"),
        storage=_BUSY,
    )
    create_index(
        "delivery_due",
        "delivery",
        ["due_kind", "due_lane", "due_at", "message_id"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    create_index(
        "delivery_open",
        "delivery",
        ["subscription", "status"],
        postgresql_where=sa.text("status IN ('pending_send', 'sent', 'undelivered')"),
    )


def _event() -> None:
    """The order of lines is that of their numbers, which the database hands out."""
    number = sa.Column("number", sa.BigInteger, nullable=False, autoincrement=True)
    key = sa.PrimaryKeyConstraint("number")
    if _on_postgres():
        op.execute("CREATE SEQUENCE event_number")
        numbers = sa.text("nextval('event_number')")
        number = sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False, server_default=numbers)
        key = sa.PrimaryKeyConstraint("message_id", "number")
    _partitioned(
        "event",
        "message_id",
        number,
        sa.Column("message_id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("event", _WORD, nullable=False),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("attempt", sa.Integer),
        sa.Column("subscription", sa.Integer),
        sa.Column("actor", _LONG),
        sa.Column("detail", _LONG),
        key,
        storage=_WRITTEN_ONCE,
    )
    if not _on_postgres():
        create_index("event_message", "event", ["message_id"])


def _counters() -> None:
    create_table(
        "tally",
        sa.Column("stripe", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("app", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("topic", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("stripe", "app", "topic", "status"),
        postgresql_with=_HOT,
        **_MYSQL,
    )
    create_table(
        "fact",
        sa.Column("name", _WORD, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        postgresql_with=_HOT,
        **_MYSQL,
    )


def _catalogue() -> None:
    """Rows are never removed: old messages keep the names. secrets, policy and destination are JSON."""
    create_table(
        "app",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("check_url", _LONG),
        sa.Column("check_signed", sa.Boolean, nullable=False),
        sa.Column("secrets", _LONG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        **_MYSQL,
    )
    create_table(
        "topic",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("app", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("policy", _LONG, nullable=False),
        sa.Column("destination", _LONG),
        sa.Column("paused_at", sa.BigInteger),
        sa.Column("removed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
        **_MYSQL,
    )
    create_table(
        "subscription",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("topic", sa.Integer, nullable=False),
        sa.Column("name", _LONG, nullable=False),
        sa.Column("app", sa.Integer, nullable=False),
        sa.Column("implicit", sa.Boolean, nullable=False),
        sa.Column("push_url", _LONG),
        sa.Column("report", _WORD),
        sa.Column("policy", _LONG, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
        **_MYSQL,
    )


def _node() -> None:
    create_table(
        "node",
        sa.Column("id", _ID, nullable=False),
        sa.Column("address", _LONG, nullable=False),
        sa.Column("roles", _LONG, nullable=False),
        sa.Column("version", _LONG, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        postgresql_with=_HOT,
        **_MYSQL,
    )


def _partitioned(name: str, by: str, *parts: Any, storage: dict[str, str]) -> None:
    """A table that PostgreSQL keeps in partitions: here only that of the rows whose day has none; nodes make days."""
    create_table(name, *parts, postgresql_partition_by=f"RANGE ({by})", **_MYSQL)
    if _on_postgres():
        told = ", ".join(f"{parameter} = {value}" for parameter, value in storage.items())
        op.execute(f"CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT WITH ({told})")


def _on_postgres() -> bool:
    return op.get_context().dialect.name == "postgresql"
