"""What a database's tables look like, told by the database itself, and migrations that tests add."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, text

from aftercommit.stores.sql.migrate import VERSION_TABLE, known_migrations
from aftercommit.stores.sql.schema import metadata
from tests.servers.databases import FreshDatabase

_MORE = """\"\"\"One more.\"\"\"
import sqlalchemy as sa
from alembic import op
from aftercommit.stores.sql.migrations.again import create_table
revision = "{number}"
down_revision = "{before}"
def upgrade() -> None:
    create_table("more", sa.Column("id", sa.Integer))
    op.execute("{statement}")
"""
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


def make_from_description(database: FreshDatabase) -> None:
    """All tables as `schema.py` has them."""
    with connected(database) as connection:
        metadata(database.scheme).create_all(connection)


def tables(database: FreshDatabase) -> set[str]:
    """Their names."""
    with connected(database) as connection:
        return set(inspect(connection).get_table_names())


def add_migration(scripts: Path, statement: str) -> str:
    """A migration that makes a table and then runs `statement`; its name."""
    known = known_migrations()
    number = f"{len(known) + 1:04}"
    script = _MORE.format(number=number, before=known[-1].version, statement=statement)
    (scripts / "versions" / f"{number}_more.py").write_text(script)
    return f"{number}_more"


async def never(seconds: float) -> None:
    """The pause of a migration that nothing is in the way of."""
    raise AssertionError(f"nothing was in the way, but it paused for {seconds} s")


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
