"""A SQLite connection whose COMMIT fails now and then as if the disk did, before it took effect or after it.

SQLite has no network that could lose an answer. This is the nearest to it: the program hears an error of which nobody
can say whether the transaction is in the file.
"""

import sqlite3
import time
from random import Random
from typing import Any, Final

BEFORE_SHARE: Final = 0.03
AFTER_SHARE: Final = 0.05
SLOW_SHARE: Final = 0.2
SLOW_SECONDS_MAX: Final = 0.03


def connection_class(seed: float) -> type[sqlite3.Connection]:
    """A class for `sqlite3.connect(factory=...)`."""
    chance = Random(seed)

    class FallibleConnection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            """Run a statement; COMMIT may fail."""
            if sql != "COMMIT":
                return super().execute(sql, parameters)
            fate = _fate(chance)
            cursor = super().execute(sql, parameters)
            _fail_if(fate < BEFORE_SHARE + AFTER_SHARE)
            return cursor

        def commit(self) -> None:
            """The same for the driver's own method."""
            if not self.in_transaction:
                super().commit()
                return
            fate = _fate(chance)
            super().commit()
            _fail_if(fate < BEFORE_SHARE + AFTER_SHARE)

    return FallibleConnection


def _fate(chance: Random) -> float:
    if chance.random() < SLOW_SHARE:
        time.sleep(chance.uniform(0.0, SLOW_SECONDS_MAX))
    fate = chance.random()
    _fail_if(fate < BEFORE_SHARE)
    return fate


def _fail_if(failed: bool) -> None:
    if failed:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error
