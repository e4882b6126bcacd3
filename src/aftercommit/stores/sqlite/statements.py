"""Many rows in few statements: `VALUES` lists of fixed lengths, so that each is prepared once.

Between two steps of a statement another thread may take the interpreter and keep it for a whole switch interval, so
rows are never written one by one, and JSON would cost twice the time (docs/decisions/0002-sqlite-store.md).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

# Rows in one statement at most; fewer than that are written as a multiple of eight and a rest.
_ROWS_MAX: Final = 64
_SMALL: Final = 8


class Insert:
    """`INSERT INTO table (columns) VALUES ... tail`, for any number of rows."""

    def __init__(self, table: str, columns: Sequence[str], tail: str = "") -> None:
        self._head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        self._row = f"({', '.join('?' * len(columns))})"
        self._tail = f" {tail}"
        self._width = len(columns)
        self._statement = cache(self._text)

    def run(self, connection: sqlite3.Connection, values: list[object]) -> int:
        """Write the rows whose values follow each other in `values`; how many rows were written."""
        written, start = 0, 0
        for rows in _chunks(len(values) // self._width):
            end = start + rows * self._width
            written += connection.execute(self._statement(rows), values[start:end]).rowcount
            start = end
        return written

    def _text(self, rows: int) -> str:
        return self._head + ", ".join([self._row] * rows) + self._tail


def _chunks(rows: int) -> Iterator[int]:
    while rows >= _ROWS_MAX:
        yield _ROWS_MAX
        rows -= _ROWS_MAX
    if rows > _SMALL:
        yield rows - rows % _SMALL
        rows %= _SMALL
    if rows:
        yield rows
