"""Connections to MySQL and MariaDB, through asyncmy or aiomysql: two drivers with one manner of speaking."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.session import Collision, ConnectionLost, Duplicate, Row
from aftercommit.stores.sql.statements import Put

CONNECT_SECONDS: Final = 5
COMMAND_SECONDS: Final = 30.0
# Rows in one statement at most: its text is made and read as a whole.
_ROWS_MAX: Final = 250
# `?driver=aiomysql` in the address.
DRIVER: Final = "driver"
_DRIVERS: Final = ("asyncmy", "aiomysql")

_COLLISIONS: Final = frozenset({1020, 1205, 1213, 3572})
_DUPLICATE: Final = 1062
_CLOSING: Final = frozenset({1053, 1077, 1079, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1927, 4031})
# Full, read-only, too busy, not allowed, shutting down: the server's state, not ours.
_STATES: Final = frozenset(
    {3, 5, 28, 1021, 1026, 1030, 1037, 1038, 1040, 1041, 1044, 1045, 1049, 1114, 1135, 1142, 1203, 1205, 1206, 1226}
    | {1290, 1317, 1412, 1568, 1684, 1792, 1836, 1969, 3024, 3100, 3101, 3572}
)
_CLIENT_ERRORS: Final = range(2000, 3000)


class MysqlSession:
    """`session.Session` on asyncmy or aiomysql."""

    def __init__(self, connection: Any, *, inlines: bool = False) -> None:
        self._connection = connection
        self._inlines = inlines
        self._in_transaction = False
        self._broken = False

    @property
    def usable(self) -> bool:
        return not self._in_transaction and not self._broken

    async def begin(self) -> None:
        self._in_transaction = True
        await self.run("START TRANSACTION")

    async def commit(self) -> None:
        await self.run("COMMIT")
        self._in_transaction = False

    async def rollback(self) -> None:
        # After every error, a lock time-out included: that one undoes its own statement only.
        if self._in_transaction:
            await self.run("ROLLBACK")
            self._in_transaction = False

    async def rows(self, statement: str, *values: object) -> Sequence[Row]:
        _count, found = await self._execute(statement, values)
        return found

    async def run(self, statement: str, *values: object) -> int:
        count, _found = await self._execute(statement, values)
        return count

    async def put(self, *puts: tuple[Put, Sequence[Sequence[object]]]) -> list[int]:
        return [await self._put(put, rows) for put, rows in puts]

    async def _put(self, put: Put, rows: Sequence[Sequence[object]]) -> int:
        written = 0
        for start in range(0, len(rows), _ROWS_MAX):
            some = rows[start : start + _ROWS_MAX]
            statement = put.head + ", ".join([put.row] * len(some)) + put.tail
            count, _found = await self._execute(statement, [value for row in some for value in row])
            # A row that takes the place of its like counts twice or, where nothing differs, not at all.
            written += count // put.counted
        return written

    def terminate(self) -> None:
        self._broken = True
        self._connection.close()

    async def _execute(self, statement: str, values: Sequence[object]) -> tuple[int, Sequence[Row]]:
        with _told_as_ours():
            # Out of the driver's hands: it has no bound of its own on how long it waits for an answer.
            async with asyncio.timeout(COMMAND_SECONDS), self._connection.cursor() as cursor:
                text, spelt = _inlined(statement, values) if self._inlines else (statement, [*map(_spelt, values)])
                count = await cursor.execute(text, spelt or None)
                found: Sequence[Row] = await cursor.fetchall() if cursor.description else ()
                return count or 0, found


class MysqlConnector:
    """Connects. `hold_seconds`: how long a transaction may stay idle before the server ends it."""

    def __init__(self, address: Address, *, hold_seconds: float) -> None:
        self._address = address
        self._hold_seconds = max(1, round(hold_seconds))
        driver = address.options.get(DRIVER, _DRIVERS[0])
        self._driver = import_module(driver)
        self._inlines = driver == "aiomysql"

    async def __call__(self) -> MysqlSession:
        """A new connection."""
        address = self._address
        with _told_as_ours():
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self._driver.connect(
                    host=address.host,
                    port=address.port,
                    user=address.user,
                    password=address.password or "",
                    db=address.database,
                    charset="utf8mb4",
                    autocommit=True,
                    connect_timeout=CONNECT_SECONDS,
                )
        session = MysqlSession(connection, inlines=self._inlines)
        try:
            await self._introduce(session)
        except BaseException:
            session.terminate()
            raise
        return session

    async def _introduce(self, session: MysqlSession) -> None:
        await session.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        await session.run(
            "SET SESSION innodb_lock_wait_timeout = 5,"
            " sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'"
        )
        [[version]] = await session.rows("SELECT version()")
        # Only MariaDB tells an idle transaction from an idle connection; the pool renews what MySQL has closed.
        limit = "idle_transaction_timeout" if "MariaDB" in str(version) else "wait_timeout"
        await session.run(f"SET SESSION {limit} = {self._hold_seconds}")


def _inlined(statement: str, values: Sequence[object]) -> tuple[str, list[object]]:
    """The same statement for aiomysql, which with PyMySQL 1.2 can write neither bytes nor lists."""
    places: list[str] = []
    others: list[object] = []
    for each in values:
        if isinstance(each, bytes):
            places.append(f"_binary X'{each.hex()}'")
        elif isinstance(each, list | tuple | set | frozenset):
            places.append(f"({', '.join(['%s'] * len(each))})")
            others += each
        else:
            places.append("%s")
            others.append(each)
    return statement % tuple(places) if places else statement, others


def _spelt(value: object) -> object:
    """A value as the drivers can write it into a statement."""
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(value)
    return value


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, EOFError, RuntimeError, AttributeError) as error:
        # The drivers stumble over their own closed sockets in several ways.
        raise ConnectionLost(f"The connection to MySQL broke: {str(error) or type(error).__name__}.") from error
    except Exception as error:
        raise _ours(error) from error


def _ours(error: Exception) -> Exception:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else None
    said = f"MySQL said {': '.join(str(each) for each in error.args)}."
    if code is None:
        # A driver's InterfaceError has no number: its connection is closed.
        return ConnectionLost(said) if type(error).__name__ == "InterfaceError" else Inconsistency(said)
    if code in _CLIENT_ERRORS or code in _CLOSING or code == 0:
        return ConnectionLost(said)
    if code in _COLLISIONS:
        return Collision(said)
    if code == _DUPLICATE:
        return Duplicate(said)
    return StoreUnavailable(said) if code in _STATES else Inconsistency(said)
