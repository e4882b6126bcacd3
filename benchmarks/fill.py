"""Messages by the million, as the store would have written them: one real one each is its pattern.

A message is led by the store to where its like shall stand; then the database itself copies its rows, with ids and
times of the copies' own, in the partitions of their days, and counts them where the store counts.
"""

from collections.abc import Iterator
from time import perf_counter
from typing import Any, Final

import msgspec
import psycopg

from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.partitions import Partitions
from aftercommit.stores.sql.pool import Pool
from aftercommit.stores.sql.retention import DAY_MS
from aftercommit.stores.sql.schema import PARTITIONED, metadata

CHUNK: Final = 200_000
HOLD_SECONDS: Final = 60.0
# A UUIDv7 of a copy: its time, and bits that look like chance, from its number and its pattern.
_ID: Final = "(lpad(to_hex({at}), 12, '0') || '7' || substr({chance}, 1, 3) || '8' || substr({chance}, 4, 15))::uuid"
_CHANCE: Final = "md5(n::text || p.{key}::text)"


class Filling(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` copies of the message `pattern`, prepared evenly between two times (milliseconds since 1970 UTC)."""

    pattern: str
    rows: int
    first_at: int
    end_at: int


async def make_days(url: str, first_at: int, now: int) -> None:
    """The partitions of the days from `first_at` on, which a node would have made when they came."""
    pool = Pool(backend_for(Address.parse(url)).connector(HOLD_SECONDS), 1)
    try:
        for at in range(first_at, now + DAY_MS, DAY_MS):
            await Partitions(pool).provide(min(at, now))
    finally:
        pool.close()


def fill(url: str, fillings: list[Filling]) -> float:
    """Copy, then tidy up as autovacuum would in time; the seconds that took. The days' partitions must be there."""
    started = perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for filling in fillings:
            _fill(connection, filling)
        connection.execute("VACUUM (ANALYZE)")
        # What is written out here is not written out in the middle of a measurement.
        connection.execute("CHECKPOINT")
    return perf_counter() - started


def _fill(connection: psycopg.Connection[Any], filling: Filling) -> None:
    if not filling.rows:
        return
    for table, key in PARTITIONED.items():
        connection.execute(
            f"CREATE TEMP TABLE pattern_{table} AS SELECT * FROM {table} WHERE {key} = %s", [filling.pattern]
        )
    connection.execute("ALTER TABLE pattern_message ADD COLUMN origin bigint")
    connection.execute("UPDATE pattern_message SET origin = prepared_at")
    for statement in _copies():
        for start in range(0, filling.rows, CHUNK):
            values = {
                "first": filling.first_at,
                "span": filling.end_at - filling.first_at,
                "rows": filling.rows,
                "start": start,
                "end": min(start + CHUNK, filling.rows) - 1,
            }
            connection.execute(statement.encode(), values)
    connection.execute(
        "INSERT INTO tally (stripe, app, topic, status, messages)"
        " SELECT 0, app, coalesce(topic, 0), status, %s FROM pattern_message"
        " ON CONFLICT (stripe, app, topic, status) DO UPDATE SET messages = tally.messages + excluded.messages",
        [filling.rows],
    )
    for table in PARTITIONED:
        connection.execute(f"DROP TABLE pattern_{table}")


def _copies() -> Iterator[str]:
    """One statement per table that copies its rows of the pattern, from number `start` to `end`."""
    at = "(%(first)s::bigint + n * %(span)s::bigint / %(rows)s::bigint)"
    for table, key in PARTITIONED.items():
        columns = [each.name for each in metadata("postgresql").tables[table].columns if each.name != "number"]
        values = [_value(each, key, at) for each in columns]
        yield (
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM pattern_{table} AS p"
            " CROSS JOIN (SELECT origin FROM pattern_message) AS o"
            " CROSS JOIN generate_series(%(start)s::bigint, %(end)s::bigint) AS n"
        )


def _value(column: str, key: str, at: str) -> str:
    if column == key:
        return _ID.format(at=at, chance=_CHANCE.format(key=key))
    if column == "at" or column.endswith("_at"):
        return f"p.{column} - o.origin + {at}"
    return f"p.{column}"
