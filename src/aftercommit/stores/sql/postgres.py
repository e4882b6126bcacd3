"""Connections to PostgreSQL, through asyncpg."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import asyncpg

from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.session import Collision, ConnectionLost, Duplicate, Row
from aftercommit.stores.sql.statements import Put

CONNECT_SECONDS: Final = 5.0
# Longer than any statement of ours takes; after it the socket is given up, also where the other side is silent.
COMMAND_SECONDS: Final = 30.0
# `?pooler=transaction` in the address: a pooler such as PgBouncer lends a server connection for one transaction.
POOLER: Final = "pooler"
POOLED_BY_TRANSACTION: Final = "transaction"

# Each query finds few rows by their keys; a plan made while a table was small must not be kept as a scan of it.
_PLANNING: Final = {
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
}
# Our transactions with an error of this kind have not taken place, and the same one may succeed later.
_COLLISIONS: Final = frozenset({"40001", "40P01", "55P03", "0A000", "26000"})
_DUPLICATE: Final = "23505"
# The driver's own word for it, where the other side is gone in the middle of a statement.
_BROKEN_CLASS: Final = "08"
# Classes of errors that are the server's state, not ours: authorisation, resources, operator, system.
_STATE_CLASSES: Final = frozenset({"28", "53", "54", "57", "58", "F0", "XX"})
_STATES: Final = frozenset({"25006", "42501", "55000", "3D000"})
# The server closes the connection after these.
_CLOSING: Final = frozenset({"25P03", "57P01", "57P02", "57P03", "57P05"})


class PostgresSession:
    """`session.Session` on asyncpg."""

    def __init__(self, connection: Any, settings: Mapping[str, str]) -> None:
        self._connection = connection
        # Behind a pooler each transaction may be another server's: told anew every time, in the same round trip.
        local = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in settings.items())
        self._begin = f"BEGIN ISOLATION LEVEL READ COMMITTED{local}"
        self._in_transaction = False

    @property
    def usable(self) -> bool:
        return not self._in_transaction and not self._connection.is_closed()

    async def begin(self) -> None:
        self._in_transaction = True
        with _told_as_ours():
            await self._connection.execute(self._begin)

    async def commit(self) -> None:
        with _told_as_ours():
            done = await self._connection.execute("COMMIT")
        if done != "COMMIT":
            raise Inconsistency(f"A transaction that should be committed ended in {done}.")
        self._in_transaction = False

    async def rollback(self) -> None:
        if self._in_transaction:
            with _told_as_ours():
                await self._connection.execute("ROLLBACK")
            self._in_transaction = False

    async def rows(self, statement: str, *values: object) -> Sequence[Row]:
        with _told_as_ours():
            found: Sequence[Row] = await self._connection.fetch(statement, *values)
            return found

    async def run(self, statement: str, *values: object) -> int:
        with _told_as_ours():
            return _count(await self._connection.execute(statement, *values))

    async def put(self, *puts: tuple[Put, Sequence[Sequence[object]]]) -> list[int]:
        full = [(put, rows) for put, rows in puts if rows]
        if not full:
            return [0] * len(puts)
        columns = [column for _put, rows in full for column in zip(*rows, strict=True)]
        [counts] = await self.rows(_together(tuple(put for put, _rows in full)), *columns)
        written = iter(counts)
        return [next(written) if rows else 0 for _put, rows in puts]

    def terminate(self) -> None:
        self._connection.terminate()


class PostgresConnector:
    """Connects. `hold_seconds`: how long a transaction may stay idle before the server ends it."""

    def __init__(self, address: Address, *, hold_seconds: float) -> None:
        self._address = address
        self._pooled = address.options.get(POOLER) == POOLED_BY_TRANSACTION
        milliseconds = round(hold_seconds * 1000)
        self._settings = _PLANNING | {
            "idle_in_transaction_session_timeout": str(milliseconds),
            "lock_timeout": "5000",
            "statement_timeout": str(round(COMMAND_SECONDS * 1000)),
            "synchronous_commit": "on",
        }

    async def __call__(self) -> PostgresSession:
        """A new connection."""
        address = self._address
        with _told_as_ours():
            connection = await asyncpg.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password,
                database=address.database,
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                ssl=address.options.get("sslmode"),
                statement_cache_size=0 if self._pooled else 200,
                server_settings={} if self._pooled else {"application_name": "aftercommit", **self._settings},
            )
        return PostgresSession(connection, self._settings if self._pooled else {})


@cache
def _together(puts: tuple[Put, ...]) -> str:
    """One statement that writes rows of every kind and answers how many of each: a round trip costs more than a row."""
    first, parts = 0, []
    for number, put in enumerate(puts):
        text = re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + first}", put.head)  # noqa: B023
        parts.append(f"put{number} AS ({text} RETURNING 1)")
        first += len(put.columns)
    counts = ", ".join(f"(SELECT count(*) FROM put{number})" for number in range(len(puts)))
    return f"WITH {', '.join(parts)} SELECT {counts}"


@contextmanager
def _told_as_ours() -> Iterator[None]:
    """Raise what the driver raises as an error of ours."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _ours(error) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        if isinstance(error, asyncpg.DataError):
            raise Inconsistency(f"A value does not fit: {error}") from error
        raise ConnectionLost(f"The connection to PostgreSQL broke: {str(error) or type(error).__name__}.") from error


def _ours(error: Any) -> Exception:
    code = error.sqlstate or ""
    said = f"PostgreSQL said {code}: {error}."
    if code in _CLOSING or code[:2] == _BROKEN_CLASS:
        return ConnectionLost(said)
    if code in _COLLISIONS:
        return Collision(said)
    if code == _DUPLICATE:
        return Duplicate(said)
    if code[:2] in _STATE_CLASSES or code in _STATES:
        return StoreUnavailable(said)
    return Inconsistency(said)


def _count(tag: str) -> int:
    """`INSERT 0 5`, `UPDATE 5`: 5."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
