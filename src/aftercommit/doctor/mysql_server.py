"""MySQL or MariaDB as a server that a node works with: versions, limits, tables, rights."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from aftercommit.doctor.finding import Verdict, error, ok, warning
from aftercommit.doctor.limits import CONNECTIONS_PER_WORKER, HOLD_SECONDS, OLD_SECONDS, clock_verdict
from aftercommit.doctor.schema import schema_verdict
from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.settings import is_loopback
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.schema import metadata
from aftercommit.stores.sql.session import Session

# The first versions with FOR UPDATE SKIP LOCKED.
MYSQL_MIN: Final = (8, 0, 1)
MARIADB_MIN: Final = (10, 6, 0)
# A batch of a thousand messages has 8 MiB at most; as a statement, bytes may be escaped.
PACKET_MIN: Final = 16 * 1024 * 1024
IDLE_MIN_SECONDS: Final = 60
_TABLES: Final = metadata("mysql").tables
_RIGHTS: Final = {
    "SELECT": "EXPLAIN SELECT 1 FROM {0}",
    "INSERT": "EXPLAIN INSERT INTO {0} ({1}) SELECT {1} FROM {0} WHERE FALSE",
    "UPDATE": "EXPLAIN UPDATE {0} SET {2} = {2} WHERE FALSE",
    "DELETE": "EXPLAIN DELETE FROM {0} WHERE FALSE",
}
# "... command denied to user", for a database, a table, a column; the words depend on the server's language.
_DENIED: Final = (1044, 1142, 1143)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What is being looked at. `variables` are the server's own, not the session's."""

    session: Session
    address: Address
    version: str
    variables: dict[str, str]
    workers: int
    ahead_ms: int

    def on(self, variable: str) -> bool:
        """Whether a switch is on; False where this server does not have it."""
        return self.variables.get(variable, "OFF") in ("ON", "1")

    def number(self, variable: str) -> float:
        """A variable that is a number; 0 where this server does not have it."""
        return float(self.variables.get(variable, "0"))

    async def status(self, name: str) -> str:
        """A status variable; empty where there is none."""
        rows = await self.session.rows(f"SHOW SESSION STATUS LIKE '{name}'")
        return str(rows[0][1]) if rows else ""


async def version(server: Server) -> Verdict:
    """Whether rows that others have locked can be passed by."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", server.version)
    if numbers is None:
        return warning(f"The version {server.version!r} is none that is known.", "Use MySQL or MariaDB.")
    # Where the third number is a vendor's word, the first two are all there is to go by.
    found = tuple(int(each) if each else 10**6 for each in numbers.groups())
    kind, least = ("MariaDB", MARIADB_MIN) if "mariadb" in server.version.lower() else ("MySQL", MYSQL_MIN)
    if found < least:
        return error(f"{kind} {numbers[0]} is too old.", f"Upgrade to {'.'.join(map(str, least))} or newer.")
    return ok(f"{kind} {numbers[0]}.")


async def isolation(server: Server) -> Verdict:
    """Only good to know: a node says READ COMMITTED in every session."""
    found = server.variables.get("transaction_isolation") or server.variables.get("tx_isolation", "unknown")
    return ok(f"Transactions are {found} here; a node's READ COMMITTED.")


async def lock_waits(server: Server) -> Verdict:
    """Only good to know: after any error a node undoes the whole transaction."""
    undone = "the transaction" if server.on("innodb_rollback_on_timeout") else "one statement"
    seconds = server.variables.get("innodb_lock_wait_timeout", "?")
    return ok(
        f"A wait for a lock ends after {seconds} s and undoes {undone} here; a node's ends sooner and undoes all."
    )


async def clock(server: Server) -> Verdict:
    """The database's clock is the service's."""
    return clock_verdict(server.ahead_ms)


async def max_allowed_packet(server: Server) -> Verdict:
    """Whether a full batch fits into a statement."""
    found = server.number("max_allowed_packet")
    if found < PACKET_MIN:
        return error(
            f"max_allowed_packet is {found:.0f} bytes: a full batch of messages does not fit.",
            f"Set max_allowed_packet = {PACKET_MIN} or more.",
        )
    return ok(f"max_allowed_packet is {found / 1024 / 1024:.0f} MiB.")


async def timeouts(server: Server) -> Verdict:
    """Limits that a node does not set for itself."""
    for name in ("max_statement_time", "idle_write_transaction_timeout"):
        if 0 < server.number(name) < HOLD_SECONDS:
            return error(
                f"{name} is {server.number(name):g} s; a dispatch may take {HOLD_SECONDS:g} s.", f"Set {name} = 0."
            )
    if server.number("wait_timeout") < IDLE_MIN_SECONDS:
        seconds = server.number("wait_timeout")
        return warning(
            f"wait_timeout closes connections after {seconds:g} s: nodes connect again and again.",
            "Set wait_timeout = 600 or more.",
        )
    return ok("No limit is lower than a node's own.")


async def connections(server: Server) -> Verdict:
    """Whether there are as many connections as the pools may take."""
    limits = [server.number("max_connections"), server.number("max_user_connections")]
    most = min(each for each in limits if each > 0)
    needed = server.workers * CONNECTIONS_PER_WORKER
    [[others]] = await server.session.rows(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
    )
    shown = f"{most:.0f} connections are allowed, a node of {server.workers} workers takes up to {needed}"
    if needed > most:
        return error(f"{shown}.", "Raise max_connections (or max_user_connections), or run fewer workers.")
    if needed > limits[0] - others:
        return warning(f"{shown}, others have {others} now.", "Raise max_connections.")
    return ok(f"{shown}, others have {others} now.")


async def encryption(server: Server) -> Verdict:
    """Payloads and secrets travel on this connection."""
    if await server.status("Ssl_cipher"):
        return ok("The connection is encrypted.")
    if is_loopback(server.address.host):
        return ok("Unencrypted, on this machine.")
    return warning("The connection is not encrypted, and leaves this machine.", "Use a private network or a tunnel.")


async def schema(server: Server) -> Verdict:
    """Whether the tables are those of this version."""
    return await schema_verdict(server.address, await _tables(server))


async def engine(server: Server) -> Verdict:
    """Whether the tables know transactions."""
    others = [
        f"{name} ({engine})" for name, (engine, _collation) in (await _tables(server)).items() if engine != "InnoDB"
    ]
    if others:
        return error(f"Not InnoDB: {', '.join(others)}.", "ALTER TABLE ... ENGINE = InnoDB.")
    return ok("Our tables are InnoDB's.")


async def character_set(server: Server) -> Verdict:
    """Whether text is kept as it came, and names that differ stay apart."""
    others = [
        f"{name} ({collation})"
        for name, (_engine, collation) in (await _tables(server)).items()
        if collation != "utf8mb4_bin"
    ]
    if others:
        return error(
            f"Not utf8mb4_bin: {', '.join(others)}.",
            "ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin.",
        )
    return ok("Our tables are utf8mb4_bin.")


async def privileges(server: Server) -> Verdict:
    """Whether this user may do what a node does: the server is asked how it would, which needs the same rights."""
    lacking = []
    for name in await _tables(server):
        columns = [each.name for each in _TABLES[name].columns if each.computed is None]
        for right, statement in _RIGHTS.items():
            try:
                await server.session.rows(statement.format(name, ", ".join(columns), columns[0]))
            except (StoreUnavailable, Inconsistency) as problem:
                if problem.__cause__ is None or problem.__cause__.args[0] not in _DENIED:
                    raise
                lacking.append(f"{right} on {name}")
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return error(f"This user lacks {', '.join(lacking[:3])}{more}.", "GRANT it on the database's tables.")
    return ok("This user may do what a node does.")


async def old_transactions(server: Server) -> Verdict:
    """An open transaction keeps every row version that came after it began."""
    rows = await server.session.rows(
        "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, SYSDATE()) AS age"
        " FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()"
        " AND trx_started <= SYSDATE() - INTERVAL %s SECOND ORDER BY trx_started LIMIT 1",
        OLD_SECONDS,
    )
    if rows:
        return warning(
            f"Connection {rows[0][0]} has had a transaction open for {rows[0][1]} s.",
            "End it: what was deleted since then is not cleared away, and claims become slower.",
        )
    return ok("No transaction is old.")


CHECKS: Final[tuple[Callable[[Server], Awaitable[Verdict]], ...]] = (
    version,
    isolation,
    lock_waits,
    clock,
    max_allowed_packet,
    timeouts,
    connections,
    encryption,
    schema,
    engine,
    character_set,
    privileges,
    old_transactions,
)


async def _tables(server: Server) -> dict[str, tuple[str, str]]:
    """Those of our tables that are there, each with its engine and collation."""
    rows = await server.session.rows(
        "SELECT table_name, engine, table_collation FROM information_schema.tables"
        " WHERE table_schema = DATABASE() ORDER BY table_name"
    )
    return {name: (str(engine), str(collation)) for name, engine, collation in rows if name in _TABLES}
