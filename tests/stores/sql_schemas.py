"""What a database's tables look like, told by the database itself."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, text

from aftercommit.stores.sql.migrate import VERSION_TABLE
from tests.servers.databases import FreshDatabase

_BLOCKING_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}
# The partitions are not among them: a schema made from the description has none.
_RELATIONS = f"""
    SELECT c.oid, c.relname, c.relkind, c.reloptions, pg_get_partkeydef(c.oid) FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relname <> '{VERSION_TABLE}' ORDER BY c.relname"""
_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attidentity,
    pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_INDEXES = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = :oid ORDER BY 1"
_CONSTRAINTS = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = :oid ORDER BY 1"
_SEQUENCES = "SELECT seqrelid::regclass::text, seqtypid, seqstart, seqincrement, seqmax, seqcache FROM pg_sequence"
_PARTITIONS = """
    SELECT parent.relname, c.relname, pg_get_expr(c.relpartbound, c.oid), c.reloptions
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_class AS parent ON parent.oid = i.inhparent
    WHERE c.relkind = 'r'"""


@contextmanager
def connected(database: FreshDatabase) -> Iterator[Connection]:
    """A connection that commits at the end, through drivers that the service does not use."""
    engine = create_engine(database.url(_BLOCKING_DRIVERS[database.scheme]))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def ask(database: FreshDatabase, question: str, **values: object) -> list[tuple[Any, ...]]:
    """The rows of a query, or none of another statement."""
    with connected(database) as connection:
        return _rows(connection, question, **values)


def described(database: FreshDatabase) -> dict[str, Any]:
    """Each table and what there is to know about it, but not what Alembic keeps for itself."""
    with connected(database) as connection:
        return _described_mysql(connection) if database.scheme == "mysql" else _described_postgres(connection)


def partitions(database: FreshDatabase) -> dict[str, tuple[str, str, dict[str, str]]]:
    """By a PostgreSQL partition's name: of which table it is, what for, and how it is stored."""
    return {
        name: (parent, bound, dict(each.split("=") for each in options or ()))
        for parent, name, bound, options in ask(database, _PARTITIONS)
    }


def _described_postgres(connection: Connection) -> dict[str, Any]:
    found: dict[str, Any] = {"sequences": _rows(connection, _SEQUENCES)}
    for oid, name, *rest in _rows(connection, _RELATIONS):
        parts = [_rows(connection, question, oid=oid) for question in (_COLUMNS, _INDEXES, _CONSTRAINTS)]
        found[name] = (rest, *parts)
    return found


def _described_mysql(connection: Connection) -> dict[str, Any]:
    """In which order the indexes were made makes no difference, so they are sorted."""
    found = {}
    for name in [row[0] for row in _rows(connection, "SHOW TABLES") if row[0] != VERSION_TABLE]:
        [[_, told]] = _rows(connection, f"SHOW CREATE TABLE `{name}`")
        lines = [line.strip(" ,") for line in re.sub(r" AUTO_INCREMENT=\d+", "", told).splitlines()]
        indexes = [line for line in lines if line.startswith("KEY")]
        found[name] = ([line for line in lines if line not in indexes], sorted(indexes))
    return found


def _rows(connection: Connection, question: str, **values: object) -> list[tuple[Any, ...]]:
    result = connection.execute(text(question), values)
    return [tuple(row) for row in result] if result.returns_rows else []
