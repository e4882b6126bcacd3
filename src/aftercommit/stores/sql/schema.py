"""The tables, as SQLAlchemy describes them: what the migrations must lead to.

Times are milliseconds since 1970 UTC. app, topic and subscription hold ids of the catalogue's tables. What a message's
columns mean is said where they were first made, in the SQLite store's `migrations/0001_first.sql`.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

# Tables that PostgreSQL keeps in partitions, each with the column that says in which.
PARTITIONED: Final = {"message": "id", "content": "id", "delivery": "message_id", "event": "message_id"}
# How a day's partition is stored. Rows of message move within their page while it has room, so it is not filled; what
# is dead is cleared away early, because claims walk past it. The others are written once and dropped whole.
_EAGER: Final = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"}
PARTITION_STORAGE: Final[dict[str, dict[str, str]]] = {
    "message": {"fillfactor": "70", **_EAGER},
    "content": {"autovacuum_vacuum_insert_scale_factor": "0.5"},
    "delivery": {"fillfactor": "70", **_EAGER},
    "event": {"autovacuum_vacuum_insert_scale_factor": "0.5"},
}
# How tables of few rows are stored that change all the time: room for the next version of each row on its page.
_HOT: Final = {"fillfactor": "50", "autovacuum_vacuum_threshold": "50", **_EAGER}
HOT_STORAGE: Final[dict[str, dict[str, str]]] = {"tally": _HOT, "fact": _HOT, "node": _HOT}
# How many counters one count is spread over, so that writers seldom wait for each other.
STRIPES: Final = 256

_TROUBLE: Final = "'undecided', 'undelivered', 'failed'"
_OPEN: Final = "'pending_send', 'sent', 'undelivered'"
_MYSQL: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def metadata(dialect: str) -> MetaData:
    """The whole schema as it is on `dialect`: `postgresql`, or `mysql` for MySQL and MariaDB."""
    tables = MetaData()
    postgres = dialect == "postgresql"
    _message(tables, postgres=postgres)
    _content(tables)
    _delivery(tables)
    _event(tables, postgres=postgres)
    _table(
        tables,
        "tally",
        *(Column(name, Integer, primary_key=True, autoincrement=False) for name in ("stripe", "app", "topic")),
        Column("status", _word(), primary_key=True),
        _number("messages"),
    )
    _catalogue(tables)
    _table(
        tables,
        "fact",
        Column("name", _word(), primary_key=True),
        _number("value"),
    )
    _table(
        tables,
        "node",
        Column("id", _id(), primary_key=True),
        Column("address", _long(), nullable=False),
        Column("roles", _long(), nullable=False),
        Column("version", _long(), nullable=False),
        _number("started_at"),
        _number("seen_at"),
    )
    return tables


def _message(tables: MetaData, *, postgres: bool) -> None:
    columns = [
        Column("id", _id(), primary_key=True),
        Column("app", Integer, nullable=False),
        Column("topic", Integer),
        Column("status", _word(), nullable=False),
        Column("version", Integer, nullable=False),
        _number("prepared_at"),
        _number("confirmed_at", nullable=True),
        _number("settled_at", nullable=True),
        Column("due_kind", SmallInteger),
        Column("due_lane", Integer),
        _number("due_at", nullable=True),
        Column("subscription", Integer),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        _number("sent_at", nullable=True),
        _number("pulled_at", nullable=True),
        _number("deliver_at", nullable=True),
        Column("checks", Integer, nullable=False, server_default=text("0")),
        _number("checked_at", nullable=True),
        Column("error", _long()),
        Column("resolved_by", _long()),
        Column("replay_of", _id()),
        Column("refusals", Integer, nullable=False, server_default=text("0")),
        Column("delivery_error", _long()),
        Column("delivery_rows", Integer, nullable=False, server_default=text("0")),
    ]
    if not postgres:
        # No index of MySQL's leaves rows out: a column that is NULL for nearly all of them does.
        trouble = f"CASE WHEN status IN ({_TROUBLE}) THEN status END"
        columns.append(Column("trouble", _word(), Computed(trouble, persisted=False)))
    message = _table(tables, "message", *columns)
    c = message.c
    waiting, trouble_there = text("due_at IS NOT NULL"), text(f"status IN ({_TROUBLE})")
    Index("message_due", c.due_kind, c.due_lane, c.due_at, c.id, postgresql_where=waiting)
    Index("message_list", c.prepared_at, c.id)
    Index(
        "message_trouble",
        c.status if postgres else c.trouble,
        c.prepared_at,
        c.id,
        postgresql_where=trouble_there,
    )
    Index("message_replay", c.replay_of, postgresql_where=text("replay_of IS NOT NULL"))


def _content(tables: MetaData) -> None:
    _table(
        tables,
        "content",
        Column("id", _id(), primary_key=True),
        Column("content_type", _long(), nullable=False),
        Column("form", _word(), nullable=False),
        Column("message_key", String(128)),
        Column("headers", _long(), nullable=False),
        Column("check_hint", _bytes()),
        Column("traceparent", _long()),
        Column("fingerprint", _bytes(), nullable=False),
        Column("payload", _bytes(), nullable=False),
    )


def _delivery(tables: MetaData) -> None:
    delivery = _table(
        tables,
        "delivery",
        Column("message_id", _id(), primary_key=True),
        Column("position", Integer, primary_key=True, autoincrement=False),
        Column("subscription", Integer, nullable=False),
        Column("status", _word(), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("refusals", Integer, nullable=False),
        _number("sent_at", nullable=True),
        _number("pulled_at", nullable=True),
        _number("settled_at", nullable=True),
        Column("error", _long()),
        Column("due_kind", SmallInteger),
        Column("due_lane", Integer),
        _number("due_at", nullable=True),
    )
    c = delivery.c
    Index("delivery_due", c.due_kind, c.due_lane, c.due_at, c.message_id, postgresql_where=text("due_at IS NOT NULL"))
    Index("delivery_open", c.subscription, c.status, postgresql_where=text(f"status IN ({_OPEN})"))


def _event(tables: MetaData, *, postgres: bool) -> None:
    """The order of lines is that of their numbers, which the database hands out."""
    number = Column("number", BigInteger, nullable=False, autoincrement=not postgres)
    if postgres:
        numbers = Sequence("event_number", metadata=tables)
        number = Column("number", BigInteger, numbers, server_default=numbers.next_value(), nullable=False)
    event = _table(
        tables,
        "event",
        number,
        Column("message_id", _id(), nullable=False),
        _number("at"),
        Column("event", _word(), nullable=False),
        Column("status", _word(), nullable=False),
        Column("attempt", Integer),
        Column("subscription", Integer),
        Column("actor", _long()),
        Column("detail", _long()),
        PrimaryKeyConstraint("message_id", "number") if postgres else PrimaryKeyConstraint("number"),
    )
    if not postgres:
        Index("event_message", event.c.message_id)


def _catalogue(tables: MetaData) -> None:
    """Rows are never removed: old messages keep the names. secrets, policy and destination are JSON."""

    def number() -> Column[int]:
        return Column("id", Integer, primary_key=True, autoincrement=False)

    _table(
        tables,
        "app",
        number(),
        Column("name", String(64), nullable=False, unique=True),
        _number("created_at"),
        Column("check_url", _long()),
        Column("check_signed", Boolean, nullable=False),
        Column("secrets", _long(), nullable=False),
    )
    _table(
        tables,
        "topic",
        number(),
        Column("name", String(128), nullable=False),
        Column("app", Integer, nullable=False),
        _number("created_at"),
        Column("policy", _long(), nullable=False),
        Column("destination", _long()),
        _number("paused_at", nullable=True),
        _number("removed_at", nullable=True),
    )
    _table(
        tables,
        "subscription",
        number(),
        Column("topic", Integer, nullable=False),
        Column("name", _long(), nullable=False),
        Column("app", Integer, nullable=False),
        Column("implicit", Boolean, nullable=False),
        Column("push_url", _long()),
        Column("report", _word()),
        Column("policy", _long(), nullable=False),
        _number("removed_at", nullable=True),
    )


def _table(tables: MetaData, name: str, *parts: Any) -> Table[Any]:
    partitioned_by = f"RANGE ({PARTITIONED[name]})" if name in PARTITIONED else None
    return Table(
        name, tables, *parts, postgresql_partition_by=partitioned_by, postgresql_with=HOT_STORAGE.get(name), **_MYSQL
    )


def _id() -> TypeEngine[Any]:
    """A UUID; on MySQL as text, which its tools can read and write."""
    return (
        String(36)
        .with_variant(postgresql.UUID(as_uuid=False), "postgresql")
        .with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    )


def _word() -> TypeEngine[Any]:
    """A status or another name of ours."""
    return String(32).with_variant(mysql.VARCHAR(32, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


def _long() -> TypeEngine[Any]:
    """Text without a limit of its own."""
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def _bytes() -> TypeEngine[Any]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)
