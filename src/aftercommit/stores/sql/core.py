"""Statements that are put together as they are needed: written with SQLAlchemy, run by a session."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.elements import ClauseElement

from aftercommit.stores.sql.schema import metadata
from aftercommit.stores.sql.session import Row, Session

_MAKERS: Final[dict[str, Any]] = {"postgresql": asyncpg.dialect, "mysql": mysql.dialect}
_DIALECTS: Final = {name: make() for name, make in _MAKERS.items()}


@cache
def tables(dialect: str) -> dict[str, Table[Any]]:
    """The tables by name."""
    return dict(metadata(dialect).tables)


async def query(session: Session, dialect: str, statement: ClauseElement) -> Sequence[Row]:
    """All rows of a query."""
    text, values = spelt(dialect, statement)
    return await session.rows(text, *values)


async def execute(session: Session, dialect: str, statement: ClauseElement) -> int:
    """How many rows a statement changed."""
    text, values = spelt(dialect, statement)
    return await session.run(text, *values)


def spelt(dialect: str, statement: ClauseElement) -> tuple[str, list[object]]:
    """A statement as the dialect's driver takes it: its text, and its values in order."""
    compiled: Any = statement.compile(dialect=_DIALECTS[dialect], compile_kwargs={"render_postcompile": True})
    return str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]
