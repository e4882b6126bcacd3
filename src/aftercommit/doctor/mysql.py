"""A MySQL or MariaDB database: one connection that only reads, every check in turn."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Final

from aftercommit.doctor import mysql_durability, mysql_server
from aftercommit.doctor.finding import Report, Verdict, error, named, ok, unreached, warning
from aftercommit.doctor.mysql_server import Server
from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.mysql import CONNECT_SECONDS, DRIVER, MysqlSession
from aftercommit.stores.sql.session import Session

FAMILY: Final = "mysql"
HOLD_SECONDS: Final = 10.0

_CHECKS: Final[Sequence[Callable[[Server], Awaitable[Verdict]]]] = (*mysql_durability.CHECKS, *mysql_server.CHECKS)


async def examine_mysql(address: Address, *, workers: int, read_ms: Callable[[], int]) -> Report:
    """Every check. `workers`: processes that will share the database; `read_ms`: this machine's clock."""
    try:
        async with _connected(address) as connection:
            server = await _server(connection, address, workers=workers, read_ms=read_ms)
            findings = [named(FAMILY, each.__name__, await _made(each, server)) for each in _CHECKS]
    except (StoreUnavailable, Inconsistency) as problem:
        return unreached(
            FAMILY,
            f"{address.shown} cannot be used: {problem}",
            "Check the address, the user, the password and whether the server runs.",
        )
    findings.append(named(FAMILY, "session", await session(address)))
    return Report(findings=findings)


async def session(address: Address) -> Verdict:
    """Whether a connection as a node makes it has what a node asks for."""
    try:
        connection = await backend_for(address).connector(HOLD_SECONDS)()
        try:
            rows = await connection.rows(
                "SHOW SESSION VARIABLES WHERE variable_name IN ('tx_isolation', 'transaction_isolation')"
            )
        finally:
            connection.terminate()
    except (StoreUnavailable, Inconsistency) as problem:
        return error(f"A connection as a node makes it fails: {problem}", "See the other findings.")
    if {value for _name, value in rows} != {"READ-COMMITTED"}:
        return error(
            f"A node's transactions would be {rows[0][1] if rows else 'of an unknown isolation'}.",
            "Something in between does not pass on what a node sets: connect to the server itself.",
        )
    return ok("A node's transactions are READ COMMITTED.")


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[Session]:
    """A connection of the node's driver, with the server's own settings."""
    driver = import_module(address.options.get(DRIVER, "asyncmy"))
    errors = driver if hasattr(driver, "MySQLError") else import_module("asyncmy.errors")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await driver.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password or "",
                db=address.database,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
            )
    except (errors.MySQLError, OSError, TimeoutError, RuntimeError) as problem:
        # The last one: a package is missing that the server's way of checking passwords needs.
        raise StoreUnavailable(str(problem) or f"No answer in {CONNECT_SECONDS} s.") from problem
    lent = MysqlSession(connection)
    try:
        yield lent
    finally:
        lent.terminate()


async def _server(connection: Session, address: Address, *, workers: int, read_ms: Callable[[], int]) -> Server:
    variables = await connection.rows("SHOW GLOBAL VARIABLES")
    [[version]] = await connection.rows("SELECT version()")
    before = read_ms()
    # Not NOW(): a server can be told what that is.
    [[now]] = await connection.rows("SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)")
    return Server(
        session=connection,
        address=address,
        version=str(version),
        variables={str(name).lower(): str(value) for name, value in variables},
        workers=workers,
        # The answer was given somewhere between the two readings.
        ahead_ms=int(now) - (before + read_ms()) // 2,
    )


async def _made(check: Callable[[Server], Awaitable[Verdict]], server: Server) -> Verdict:
    """The check's verdict; where the user may not look, that is one too."""
    try:
        return await check(server)
    except Inconsistency as problem:
        return warning(f"This could not be looked at: {problem}", "Run the doctor as a user who may.")
