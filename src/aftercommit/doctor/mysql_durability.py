"""MySQL or MariaDB as a server: does it keep what it acknowledges?"""

from collections.abc import Awaitable, Callable
from typing import Final

from aftercommit.doctor.finding import Verdict, error, ok, warning
from aftercommit.doctor.mysql_server import Server


async def innodb_flush_log_at_trx_commit(server: Server) -> Verdict:
    """Whether a commit reaches the disk. 3 is MariaDB's: as safe as 1, with one more flush."""
    value = server.variables["innodb_flush_log_at_trx_commit"]
    if value not in ("1", "3"):
        return error(
            f"innodb_flush_log_at_trx_commit is {value}: a crash loses the last second's messages.",
            "Set innodb_flush_log_at_trx_commit = 1.",
        )
    return ok(f"innodb_flush_log_at_trx_commit is {value}.")


async def sync_binlog(server: Server) -> Verdict:
    """With a binary log, that is what decides after a crash which transactions there were."""
    if not server.on("log_bin"):
        return ok("There is no binary log.")
    value = server.variables["sync_binlog"]
    if value != "1":
        return error(
            f"sync_binlog is {value} with the binary log on: a loss of power loses acknowledged messages.",
            "Set sync_binlog = 1.",
        )
    return ok("sync_binlog is 1.")


async def binlog_format(server: Server) -> Verdict:
    """InnoDB refuses to write at READ COMMITTED where statements are logged."""
    if server.on("log_bin") and server.variables.get("binlog_format") == "STATEMENT":
        return error(
            "binlog_format is STATEMENT: nothing can be written at READ COMMITTED.", "Set binlog_format = ROW."
        )
    return ok("The binary log, if there is one, takes transactions at READ COMMITTED.")


async def acknowledged(server: Server) -> Verdict:
    """What an acknowledged message has reached."""
    names = ("rpl_semi_sync_master_enabled", "rpl_semi_sync_source_enabled")
    if any(server.on(each) for each in names):
        return ok("Acknowledged means: on this server's disk, and received by a replica unless that takes too long.")
    return ok("Acknowledged means: on this server's disk; a replica that takes over may lack the last messages.")


async def innodb_doublewrite(server: Server) -> Verdict:
    """Whether a page that was half written can be mended."""
    value = server.variables.get("innodb_doublewrite", "ON")
    if value in ("OFF", "0", "DETECT_ONLY"):
        return warning(
            f"innodb_doublewrite is {value}: a crash can leave half-written pages.",
            "Set it ON, unless the disk never writes half a page.",
        )
    return ok(f"innodb_doublewrite is {value}.")


async def writable(server: Server) -> Verdict:
    """Whether it can be written to."""
    names = ("read_only", "super_read_only", "innodb_read_only", "transaction_read_only", "tx_read_only")
    stops = [each for each in names if server.variables.get(each, "OFF") not in ("OFF", "0")]
    if stops:
        return error(f"{' and '.join(stops)} is on: this is a replica, or locked.", "Connect to the primary.")
    return ok("The server takes writes.")


async def cluster(server: Server) -> Verdict:
    """Galera and group replication: what one server acknowledged, another may lack or undo."""
    if server.on("wsrep_on"):
        state = await server.status("wsrep_cluster_status")
        if state != "Primary":
            return error(f"This Galera server is not in the primary component ({state}).", "Connect to one that is.")
        return warning(
            "This is a Galera cluster: commits have been lost in it after crashes, and even healthy ones lose updates.",
            "Send all nodes to one writer endpoint, and do not rely on it to keep what it acknowledged.",
        )
    if server.variables.get("group_replication_single_primary_mode") == "OFF":
        return warning("Group replication has several primaries.", "Set group_replication_single_primary_mode = ON.")
    return ok("One server takes the writes.")


CHECKS: Final[tuple[Callable[[Server], Awaitable[Verdict]], ...]] = (
    innodb_flush_log_at_trx_commit,
    sync_binlog,
    binlog_format,
    acknowledged,
    innodb_doublewrite,
    writable,
    cluster,
)
