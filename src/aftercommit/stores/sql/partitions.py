"""PostgreSQL's partitions: one per day of the ids' time, made ahead, dropped whole when nobody keeps a row of it.

Where the day of an id has no partition of its own, because it is older than the installation, the row goes to the
default one; nothing but speed depends on these tables.
"""

from typing import Any, Final

from sqlalchemy import MetaData, Table, func, not_, select

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.policies import ID_AGE_MAX_MS
from aftercommit.stores.columns import Tallied
from aftercommit.stores.sql.core import query, tables
from aftercommit.stores.sql.folding import tally_rows
from aftercommit.stores.sql.pool import Pool
from aftercommit.stores.sql.retention import DAY_MS, is_over
from aftercommit.stores.sql.schema import PARTITION_STORAGE, PARTITIONED
from aftercommit.stores.sql.session import Collision, Session
from aftercommit.stores.sql.statements import POSTGRES

# Ids may be a day ahead; the rest is time to notice that no partition could be made.
_DAYS_AHEAD: Final = 3
_DAYS_BEHIND: Final = 1
_LOOK_AGAIN_MS: Final = 3600 * 1000
# "ACPt": nodes that make or drop partitions do it one after the other.
_LOCK: Final = 0x41435074
# Whoever waits for a table keeps everybody waiting behind it: not for long, rather later again.
_BRIEFLY: Final = "SET LOCAL lock_timeout = '200ms'"
_DAYS: Final = """
    SELECT substring(c.relname from 9) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'message'::regclass AND c.relname ~ '^message_[0-9]+$' ORDER BY 1"""


class Partitions:
    """What this node does about them, now and then."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._provided_at: int | None = None
        self._kept_until: dict[int, int] = {}

    async def provide(self, now: int) -> None:
        """Make the partitions of the days around `now` that are missing, unless that was done lately."""
        if self._provided_at is not None and now < self._provided_at + _LOOK_AGAIN_MS:
            return
        today = now // DAY_MS
        try:
            async with self._pool.transaction() as session:
                there = await _days(session)
            for day in range(today - _DAYS_BEHIND, today + _DAYS_AHEAD + 1):
                if day not in there:
                    async with self._pool.transaction() as session:
                        await _make(session, day)
        except Collision:
            # Somebody is in the way for longer than others may wait: the next call tries again.
            return
        self._provided_at = now

    async def drop_over(self, catalog: Catalog, now: int, stripe: int) -> int:
        """Drop the oldest partition that nobody needs any longer, if there is one; how many messages went with it.

        Not before its ids are too old to be prepared, so that what was seen to be over stays so.
        """
        async with self._pool.transaction() as session:
            days = [each for each in await _days(session) if (each + 2) * DAY_MS + ID_AGE_MAX_MS <= now]
        for day in days:
            if self._kept_until.get(day, 0) > now:
                continue
            try:
                async with self._pool.transaction() as session:
                    dropped = await _drop(session, day, catalog, now, stripe)
            except Collision:
                return 0
            if dropped is not None:
                return dropped
            # Something in it is alive or kept: it costs a walk through the whole to find that out.
            self._kept_until[day] = now + _LOOK_AGAIN_MS
        return 0


def bounds(day: int) -> tuple[str, str]:
    """The ids of a day: from the first (included) to that of the next day (excluded)."""
    return _first_id(day * DAY_MS), _first_id((day + 1) * DAY_MS)


def _first_id(at: int) -> str:
    digits = f"{max(at, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


async def _days(session: Session) -> list[int]:
    return [int(row[0]) for row in await session.rows(_DAYS)]


async def _make(session: Session, day: int) -> None:
    first, end = bounds(day)
    await session.rows("SELECT pg_advisory_xact_lock($1)", _LOCK)
    await session.run(_BRIEFLY)
    for table, column in PARTITIONED.items():
        strays = f"SELECT 1 FROM {table}_rest WHERE {column} >= $1::uuid AND {column} < $2::uuid LIMIT 1"
        if await session.rows(strays, first, end):
            # They stay where they are, and so do the others of their day.
            return
    for table in PARTITIONED:
        storage = ", ".join(f"{name} = {value}" for name, value in PARTITION_STORAGE[table].items())
        await session.run(
            f"CREATE TABLE IF NOT EXISTS {table}_{day} PARTITION OF {table}"
            f" FOR VALUES FROM ('{first}') TO ('{end}') WITH ({storage})"
        )


async def _drop(session: Session, day: int, catalog: Catalog, now: int, stripe: int) -> int | None:
    """How many messages were dropped; None where one of them is still needed."""
    await session.rows("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if day not in await _days(session):
        return 0
    message: Table[Any] = tables("postgresql")["message"].to_metadata(MetaData(), name=f"message_{day}")
    m = message.c
    unneeded = func.coalesce(is_over(m, catalog, now), False)
    if await query(session, "postgresql", select(1).select_from(message).where(not_(unneeded)).limit(1)):
        return None
    await session.run(_BRIEFLY)
    # Nobody deletes rows any more: what is counted here is what the counts have too.
    await session.run(f"LOCK TABLE {message.name} IN SHARE ROW EXCLUSIVE MODE")
    needed = func.count().filter(not_(unneeded))
    groups = await query(
        session,
        "postgresql",
        select(m.app, m.topic, m.status, func.count(), needed).group_by(m.app, m.topic, m.status),
    )
    if any(row[4] for row in groups):
        return None
    counts: dict[Tallied, int] = {(app, topic, Status(status)): -count for app, topic, status, count, _ in groups}
    for table in PARTITIONED:
        await session.run(f"DROP TABLE {table}_{day}")
    await session.put((POSTGRES.add_tallies, tally_rows(stripe, counts)))
    return -sum(counts.values())
