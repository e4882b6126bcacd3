"""Steps that may be run again where they stopped half-way.

On PostgreSQL a migration happens as a whole or not at all. On MySQL and MariaDB every CREATE or ALTER is final at once,
so that a migration which was killed is run again and must leave out what is there already.
"""

from typing import Any

from alembic import op
from sqlalchemy import inspect


def create_table(name: str, *parts: Any, **options: Any) -> None:
    """`op.create_table`, unless a half-finished run has made it."""
    if not _stopped_after(name):
        op.create_table(name, *parts, **options)


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """`op.create_index`, unless a half-finished run has made it."""
    if not _stopped_after(table, index=name):
        op.create_index(name, table, columns, **options)


def _stopped_after(table: str, index: str | None = None) -> bool:
    context = op.get_context()
    if context.as_sql or context.dialect.name == "postgresql":
        return False
    # A new inspector each time: it remembers what it saw.
    found = inspect(op.get_bind())
    return found.has_table(table) if index is None else found.has_index(table, index)
