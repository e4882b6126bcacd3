"""PostgreSQL as a server: does it keep what it acknowledges, and will it have us?"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from aftercommit.doctor.finding import Verdict, error, ok, warning
from aftercommit.doctor.limits import CONNECTIONS_PER_WORKER, HOLD_SECONDS, clock_verdict
from aftercommit.settings import is_loopback
from aftercommit.stores.sql.address import Address

VERSION_MIN: Final = 14
IDLE_SESSION_MIN_MS: Final = 60_000
SETTINGS: Final = (
    "autovacuum",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "idle_session_timeout",
    "max_connections",
    "reserved_connections",
    "server_encoding",
    "server_version_num",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "track_counts",
    "transaction_timeout",
)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What is being looked at. `settings` are as a new connection has them; times in milliseconds."""

    connection: Any
    address: Address
    settings: dict[str, str]
    workers: int
    now: int
    ahead_ms: int

    def number(self, setting: str) -> int:
        """A setting that is a number; 0 where this version does not have it."""
        return int(self.settings.get(setting, "0"))


async def version(server: Server) -> Verdict:
    """Tried with the versions that are still maintained."""
    found = server.number("server_version_num")
    if found < VERSION_MIN * 10_000:
        return error(f"PostgreSQL {found // 10_000} is too old.", f"Upgrade to {VERSION_MIN} or newer.")
    return ok(f"PostgreSQL {found // 10_000}.{found % 10_000}.")


async def fsync(server: Server) -> Verdict:
    """Whether a commit reaches the disk."""
    if server.settings["fsync"] != "on":
        return error("fsync is off: a crash can lose or damage everything.", "Set fsync = on and restart the server.")
    return ok("fsync is on.")


async def full_page_writes(server: Server) -> Verdict:
    """Whether a page that was half written can be mended."""
    if server.settings["full_page_writes"] != "on":
        return warning(
            "full_page_writes is off: a crash can leave half-written pages.",
            "Set it on, unless the file system never writes half a page (ZFS does not).",
        )
    return ok("full_page_writes is on.")


async def synchronous_commit(server: Server) -> Verdict:
    """What an acknowledged message has reached."""
    names = server.settings["synchronous_standby_names"]
    mode = server.settings["synchronous_commit"]
    if mode in ("off", "local", "remote_write"):
        return warning(
            f"synchronous_commit is {mode} here; a node sets it on for itself, other sessions may lose commits.",
            "Set it on for the service's user.",
        )
    # What reads changes for other systems is no standby.
    standbys = await server.connection.fetchval(
        "SELECT count(*) FROM pg_stat_replication WHERE pid NOT IN"
        " (SELECT active_pid FROM pg_replication_slots WHERE slot_type = 'logical' AND active_pid IS NOT NULL)"
    )
    if names and not standbys:
        return error(
            f"Commits wait for the standbys {names!r}, and none is connected: nothing is acknowledged.",
            "Start them, or take them out of synchronous_standby_names.",
        )
    if names:
        return ok(f"Acknowledged means: on the disk of this server and of the standbys {names!r}.")
    if standbys:
        return warning(
            f"{standbys} standbys follow asynchronously: a failover can lose what was acknowledged last.",
            "Name them in synchronous_standby_names, and fail over to a synchronous one only.",
        )
    return ok("Acknowledged means: on the disk of this server, which has no standby.")


async def primary(server: Server) -> Verdict:
    """Whether it can be written to."""
    if await server.connection.fetchval("SELECT pg_is_in_recovery()"):
        return error("This server is a standby: it cannot be written to, and is behind.", "Connect to the primary.")
    if server.settings["default_transaction_read_only"] == "on":
        return error(
            "default_transaction_read_only is on.", "Set it off, for the service's user and database at least."
        )
    return ok("This server is the primary.")


async def isolation(server: Server) -> Verdict:
    """Only good to know: a node says READ COMMITTED in every transaction."""
    return ok(f"Transactions are {server.settings['default_transaction_isolation']} here; a node's READ COMMITTED.")


async def clock(server: Server) -> Verdict:
    """The database's clock is the service's."""
    return clock_verdict(server.ahead_ms)


async def encoding(server: Server) -> Verdict:
    """Names and errors may be in any language."""
    if server.settings["server_encoding"] != "UTF8":
        return error(
            f"The database's encoding is {server.settings['server_encoding']}.",
            "Make a database with ENCODING 'UTF8' TEMPLATE template0.",
        )
    return ok("The database's encoding is UTF8.")


async def encryption(server: Server) -> Verdict:
    """Payloads and secrets travel on this connection."""
    encrypted = await server.connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    if encrypted or is_loopback(server.address.host):
        return ok("The connection is encrypted." if encrypted else "Unencrypted, on this machine.")
    return warning(
        "The connection is not encrypted, and leaves this machine.", "Add ?sslmode=verify-full to the address."
    )


async def connections(server: Server) -> Verdict:
    """Whether there are as many connections as the pools may take."""
    row = await server.connection.fetchrow(
        "SELECT (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database,"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,"
        " (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL"
        "  AND application_name NOT LIKE 'aftercommit%') AS of_others"
    )
    reserved = server.number("superuser_reserved_connections") + server.number("reserved_connections")
    limits = [server.number("max_connections") - reserved, row["of_database"], row["of_role"]]
    most = min(each for each in limits if each >= 0)
    needed = server.workers * CONNECTIONS_PER_WORKER
    shown = f"{most} connections are allowed, a node of {server.workers} workers takes up to {needed}"
    if needed > most:
        return error(f"{shown}.", "Raise max_connections (or the user's or database's limit), or run fewer workers.")
    if needed > limits[0] - row["of_others"]:
        return warning(f"{shown}, others have {row['of_others']} now.", "Raise max_connections.")
    return ok(f"{shown}, others have {row['of_others']} now.")


async def timeouts(server: Server) -> Verdict:
    """Limits that a node does not set for itself."""
    whole = server.number("transaction_timeout")
    if 0 < whole < HOLD_SECONDS * 1000:
        return error(
            f"transaction_timeout ends transactions after {whole} ms; a dispatch may take {HOLD_SECONDS:g} s.",
            "Set it to 0 for the service's user.",
        )
    idle = server.number("idle_session_timeout")
    if 0 < idle < IDLE_SESSION_MIN_MS:
        return warning(
            f"idle_session_timeout closes connections after {idle} ms: nodes connect again and again.",
            "Set it to 0 for the service's user.",
        )
    return ok("No limit is lower than a node's own.")


async def autovacuum(server: Server) -> Verdict:
    """Claims walk past dead rows until vacuum has cleared them away."""
    if server.settings["autovacuum"] != "on" or server.settings["track_counts"] != "on":
        return error(
            "autovacuum is off: claims become slower from hour to hour.", "Set autovacuum and track_counts on."
        )
    off = await server.connection.fetch(
        "SELECT relname FROM pg_class WHERE relname ~ '^(message|delivery|content|event|tally)(_|$)'"
        " AND array_to_string(reloptions, ',') LIKE '%autovacuum_enabled=false%'"
        " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
    )
    if off:
        names = ", ".join(row["relname"] for row in off)
        return warning(f"autovacuum is off for {names}.", "ALTER TABLE ... RESET (autovacuum_enabled).")
    return ok("autovacuum is on.")


CHECKS: Final[tuple[Callable[[Server], Awaitable[Verdict]], ...]] = (
    version,
    primary,
    fsync,
    full_page_writes,
    synchronous_commit,
    isolation,
    clock,
    encoding,
    encryption,
    connections,
    timeouts,
    autovacuum,
)
