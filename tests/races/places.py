"""The database of a campaign: made, put behind a proxy that breaks things at COMMIT, and read in the end."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.races.evidence import Tables
from tests.races.judge import Row
from tests.races.shops import Place, tables
from tests.servers.databases import FreshDatabase
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy

_COMMIT: Final = re.compile(rb"COMMIT(?!TED)")
# What becomes of a COMMIT on its way, and for how long at most; the rest arrives.
_AT_COMMIT: Final = (
    (Fate.DELAY, 0.2, 0.04),
    (Fate.CUT, 0.03, 0.0),
    (Fate.LOSE_ANSWER, 0.05, 0.15),
    (Fate.LATE, 0.04, 0.8),
)
_CUT_ELSEWHERE: Final = 0.001


@dataclass(frozen=True, slots=True)
class Proxied:
    """The place as it is reached through the proxy."""

    place: Place
    proxy: FaultProxy | None

    def fates(self) -> dict[str, int]:
        """How often the proxy did what."""
        counts = self.proxy.fates if self.proxy else {}
        return {f"proxy {fate.value}": number for fate, number in counts.items() if fate is not Fate.FORWARD}


@contextmanager
def through_proxy(place: Place, chance: Random) -> Iterator[Proxied]:
    """The place behind a proxy; a SQLite file has no way that could be broken."""
    if place.kind == "sqlite":
        yield Proxied(place, None)
        return

    def decide(piece: bytes) -> Fault:
        drawn = chance.random()
        if not _COMMIT.search(piece):
            return Fault(Fate.CUT) if drawn < _CUT_ELSEWHERE else FORWARD
        for fate, share, seconds_max in _AT_COMMIT:
            if drawn < share:
                return Fault(fate, chance.uniform(0.0, seconds_max))
            drawn -= share
        return FORWARD

    with FaultProxy(place.port, decide) as proxy:
        yield Proxied(replace(place, port=proxy.port), proxy)


def on_server(kind: str, database: FreshDatabase) -> Place:
    """A database on a server of ours, with its tables."""
    place = Place(kind, port=database.port, user=database.user, password=database.password, name=database.name)
    with closing(_connected(place)) as connection, closing(connection.cursor()) as cursor:
        for statement in tables(kind):
            cursor.execute(statement)
        connection.commit()
    return place


def in_file(folder: Path) -> Place:
    """A SQLite file with its tables, in WAL mode."""
    place = Place("sqlite", path=str(folder / "orders.db"))
    with closing(sqlite3.connect(place.path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in tables("sqlite"):
            connection.execute(statement)
        connection.commit()
    return place


def read_tables(place: Place, barrier: str) -> Tables:
    """The rows, and the markers where there is a barrier that writes them."""
    with closing(_connected(place)) as connection:
        rows = _read(connection, "SELECT message_id, unit, run FROM effects")
        markers = (
            None if barrier == "off" else dict(_read(connection, "SELECT message_id, outcome FROM aftercommit_outcome"))
        )
    return Tables(tuple(Row(*each) for each in rows), markers)


def _read(connection: Any, statement: str) -> Sequence[Any]:
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _connected(place: Place) -> Any:
    if place.kind == "sqlite":
        return sqlite3.connect(place.path)
    if place.kind == "postgresql":
        import psycopg

        return psycopg.connect(f"postgresql://{place.user}:{place.password}@127.0.0.1:{place.port}/{place.name}")
    import pymysql

    return pymysql.connect(
        host="127.0.0.1", port=place.port, user=place.user, password=place.password, database=place.name
    )
