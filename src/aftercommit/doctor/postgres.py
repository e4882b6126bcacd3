"""A PostgreSQL database: one connection, one transaction that only reads, every check in turn."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg

from aftercommit.doctor import postgres_server, postgres_tables
from aftercommit.doctor.finding import Report, Verdict, error, named, ok, unreached, warning
from aftercommit.doctor.postgres_server import SETTINGS, Server
from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for

FAMILY: Final = "postgresql"
CONNECT_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 30.0
HOLD_SECONDS: Final = 10.0
POOLED: Final = ("pooler", "transaction")

_CHECKS: Final[Sequence[Callable[[Server], Awaitable[Verdict]]]] = (*postgres_server.CHECKS, *postgres_tables.CHECKS)
_TROUBLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Pids(NamedTuple):
    """The server's process of a connection, as it was told when connecting and as it is; and that of a second one."""

    promised: int
    real: int
    second: int


async def examine_postgres(address: Address, *, workers: int, read_ms: Callable[[], int]) -> Report:
    """Every check. `workers`: processes that will share the database; `read_ms`: this machine's clock."""
    try:
        async with _connected(address) as first, _connected(address) as second:
            pids = Pids(first.get_server_pid(), await _pid(first), await _pid(second))
            async with first.transaction(readonly=True):
                await first.execute("SET LOCAL statement_timeout = '20s'; SET LOCAL lock_timeout = '2s'")
                server = await _server(first, address, workers=workers, read_ms=read_ms)
                findings = [named(FAMILY, each.__name__, await _made(each, server)) for each in _CHECKS]
    except _TROUBLE as problem:
        return unreached(
            FAMILY,
            f"{address.shown} cannot be reached: {str(problem) or type(problem).__name__}.",
            "Check the address, the user, the password and whether the server runs.",
        )
    findings.append(named(FAMILY, "pooler", pooler(address, pids)))
    findings.append(named(FAMILY, "session", await session(address)))
    return Report(findings=findings)


def pooler(address: Address, pids: Pids) -> Verdict:
    """Whether something between here and the server lends its connections, and whether the address says so."""
    name, value = POOLED
    said = address.options.get(name) == value
    if pids.promised == pids.real:
        if said:
            return warning("There is no pooler in between.", f"Take {name}={value} out of the address: it costs time.")
        return ok("Connected to the server itself.")
    lent = "for one transaction" if pids.second == pids.real else "for whole sessions, as far as can be seen"
    if said:
        return ok(f"A pooler in between lends server connections {lent}, and the address says so.")
    return error(
        f"A pooler in between lends server connections {lent}: what a node sets on connecting is not kept.",
        f"Add ?{name}={value} to the address, or connect to the server itself.",
    )


async def session(address: Address) -> Verdict:
    """Whether a connection as a node makes it has what a node asks for."""
    connect = backend_for(address).connector(HOLD_SECONDS)
    try:
        connection = await connect()
        try:
            await connection.begin()
            [found] = await connection.rows(
                "SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit'),"
                " current_setting('idle_in_transaction_session_timeout')"
            )
        finally:
            connection.terminate()
    except (StoreUnavailable, Inconsistency) as problem:
        return error(f"A connection as a node makes it fails: {problem}", "See `pooler` and the other findings.")
    isolation, durability, idle = found
    if (isolation, durability, idle) != ("read committed", "on", f"{HOLD_SECONDS:g}s"):
        return error(
            f"A node's transactions would be {isolation}, synchronous_commit {durability}, ended when idle for {idle}.",
            "Something in between does not pass on what a node sets: see `pooler`.",
        )
    return ok("A node's transactions are READ COMMITTED, synchronous, and end when left idle.")


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        ssl=address.options.get("sslmode"),
        # Behind a pooler a prepared statement may be another server's.
        statement_cache_size=0,
        server_settings={"application_name": "aftercommit doctor"},
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def _pid(connection: Any) -> int:
    async with connection.transaction():
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        return pid


async def _server(connection: Any, address: Address, *, workers: int, read_ms: Callable[[], int]) -> Server:
    rows = await connection.fetch("SELECT name, reset_val FROM pg_settings WHERE name = ANY($1)", list(SETTINGS))
    before = read_ms()
    now = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    return Server(
        connection=connection,
        address=address,
        settings={row["name"]: row["reset_val"] or "" for row in rows},
        workers=workers,
        now=now,
        # The answer was given somewhere between the two readings.
        ahead_ms=now - (before + read_ms()) // 2,
    )


async def _made(check: Callable[[Server], Awaitable[Verdict]], server: Server) -> Verdict:
    """The check's verdict; where the user may not look, or something is in the way, that is one too."""
    try:
        async with server.connection.transaction():
            return await check(server)
    except asyncpg.PostgresError as problem:
        return warning(f"This could not be looked at: {problem}.", "Run the doctor as the tables' owner.")
