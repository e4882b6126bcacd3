"""What a database on PostgreSQL holds: our tables, may we use them, and what slows them down."""

from collections.abc import Awaitable, Callable
from typing import Final

from aftercommit.doctor.finding import Verdict, error, ok, warning
from aftercommit.doctor.limits import OLD_SECONDS
from aftercommit.doctor.postgres_server import Server
from aftercommit.doctor.schema import schema_verdict
from aftercommit.stores.sql.retention import DAY_MS
from aftercommit.stores.sql.schema import PARTITIONED, metadata

# Columns of message that nothing changes after the first write: an index of these alone costs no update anything.
NEVER_CHANGED: Final = ("id", "app", "topic", "prepared_at", "replay_of")
DAYS_AHEAD: Final = 2
_TABLES: Final = tuple(sorted(metadata("postgresql").tables))
_INDEXES: Final = tuple(str(each.name) for each in metadata("postgresql").tables["message"].indexes)


async def schema(server: Server) -> Verdict:
    """Whether the tables are those of this version."""
    return await schema_verdict(server.address, await _tables(server))


async def privileges(server: Server) -> Verdict:
    """Whether this user may do what a node does: write every table, and make and drop partitions."""
    there = await _tables(server)
    lacking = [
        f"{row['privilege']} on {row['name']}"
        for row in await server.connection.fetch(
            "SELECT name, privilege FROM unnest($1::text[]) AS name,"
            " unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege"
            " WHERE NOT has_table_privilege(name, privilege) ORDER BY 1, 2",
            there,
        )
    ]
    if lacking:
        return error(f"This user lacks {_few(lacking)}.", "GRANT it, or connect as the tables' owner.")
    foreign = await server.connection.fetch(
        "SELECT relname FROM pg_class WHERE oid = ANY($1::text[]::regclass[]) AND NOT pg_has_role(relowner, 'USAGE')",
        [each for each in there if each in PARTITIONED],
    )
    if foreign:
        return error(
            f"Somebody else owns {', '.join(row['relname'] for row in foreign)}: a node cannot make its partitions.",
            "ALTER TABLE ... OWNER TO the service's user, or GRANT it the owner's role.",
        )
    if not await server.connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        return error("This user may not make tables.", "GRANT CREATE on the schema: every day has partitions.")
    return ok("This user may do what a node does.")


async def partitions(server: Server) -> Verdict:
    """Whether the coming days have partitions, and nothing went to the default ones instead."""
    if not set(PARTITIONED) <= set(await _tables(server)):
        return ok("There are no tables yet, so no partitions.")
    rows = await server.connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = ANY($1::text[]::regclass[]) AND inhrelid::regclass::text NOT LIKE '%\\_pkey'",
        list(PARTITIONED),
    )
    there = {row["name"] for row in rows}
    rests = [each for each in (f"{table}_rest" for table in PARTITIONED) if each not in there]
    if rests:
        return error(f"Default partitions are missing: {', '.join(rests)}.", "Run `aftercommit migrate`.")
    today = server.now // DAY_MS
    days = [f"{table}_{day}" for day in range(today, today + DAYS_AHEAD + 1) for table in PARTITIONED]
    missing = [each for each in days if each not in there]
    if missing:
        return warning(
            f"Partitions of today and the next days are missing: {_few(missing)}.",
            "Nodes make them when they start, and later ahead: see that one runs, and its log.",
        )
    rest = "SELECT EXISTS (SELECT FROM {}_rest)"
    filled = [each for each in PARTITIONED if await server.connection.fetchval(rest.format(each))]
    if filled:
        return warning(
            f"Rows are in the default partition of {', '.join(filled)}.",
            "They are safe, but are removed row by row, and a day that has some there gets no partition of its own.",
        )
    return ok("The next days have their partitions, and the default ones are empty.")


async def old_transactions(server: Server) -> Verdict:
    """An open transaction keeps every row that died after it began."""
    row = await server.connection.fetchrow(
        "SELECT pid, usename, extract(epoch FROM clock_timestamp() - xact_start)::bigint AS age FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start < clock_timestamp() - make_interval(secs => $1)"
        " ORDER BY xact_start LIMIT 1",
        OLD_SECONDS,
    )
    if row:
        return warning(
            f"Process {row['pid']} of {row['usename']} has had a transaction open for {row['age']} s.",
            "End it: nothing that died since then is cleared away, and claims become slower.",
        )
    if not await server.connection.fetchval("SELECT pg_has_role('pg_read_all_stats', 'USAGE')"):
        return ok("None of this user is old; others' cannot be seen without the role pg_read_all_stats.")
    return ok("No transaction is old.")


async def prepared_transactions(server: Server) -> Verdict:
    """A prepared transaction that nobody ends keeps dead rows for ever, through restarts too."""
    row = await server.connection.fetchrow(
        "SELECT gid, owner FROM pg_prepared_xacts WHERE database = current_database()"
        " AND prepared < clock_timestamp() - make_interval(secs => $1)"
        " ORDER BY prepared LIMIT 1",
        OLD_SECONDS,
    )
    if row:
        return warning(
            f"The prepared transaction {row['gid']!r} of {row['owner']} is old.",
            "COMMIT PREPARED or ROLLBACK PREPARED it.",
        )
    return ok("No prepared transaction is old.")


async def replication_slots(server: Server) -> Verdict:
    """A slot that nobody reads keeps the log until the disk is full, and may keep dead rows."""
    rows = await server.connection.fetch(
        "SELECT slot_name FROM pg_replication_slots WHERE NOT active AND NOT temporary"
        " AND restart_lsn IS NOT NULL ORDER BY slot_name"
    )
    if rows:
        return warning(
            f"Nobody reads the replication slots {', '.join(row['slot_name'] for row in rows)}: the log grows.",
            "Start what reads them, or SELECT pg_drop_replication_slot(...).",
        )
    return ok("No replication slot is left behind.")


async def extra_indexes(server: Server) -> Verdict:
    """An index of somebody else's on a column that changes makes every update write all indexes."""
    rows = await server.connection.fetch(
        "SELECT i.indexrelid::regclass::text AS name FROM pg_index AS i"
        " WHERE (i.indrelid = to_regclass('message')"
        "  OR i.indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('message')))"
        # A partition's part of an index of the whole was judged with the whole.
        " AND NOT i.indisprimary AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = i.indexrelid)"
        " AND i.indexrelid::regclass::text <> ALL($1::text[]) AND EXISTS ("
        "  SELECT FROM unnest(i.indkey) AS k LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k"
        "  WHERE k = 0 OR a.attname <> ALL($2::text[])) ORDER BY 1",
        list(_INDEXES),
        list(NEVER_CHANGED),
    )
    if rows:
        return warning(
            f"message has indexes that are not ours: {', '.join(row['name'] for row in rows)}.",
            "Drop them: every change of a message must write into them.",
        )
    return ok("message has no indexes but ours.")


CHECKS: Final[tuple[Callable[[Server], Awaitable[Verdict]], ...]] = (
    schema,
    privileges,
    partitions,
    old_transactions,
    prepared_transactions,
    replication_slots,
    extra_indexes,
)


async def _tables(server: Server) -> list[str]:
    """Those of our tables that are there."""
    rows = await server.connection.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL", list(_TABLES)
    )
    return [row["name"] for row in rows]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
