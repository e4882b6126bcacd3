"""What a database's error means for us, whichever driver or wrapper raised it.

Read are SQLSTATEs (PostgreSQL), error numbers (MySQL, MariaDB) and result codes (SQLite); texts never.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final


class Failure(Enum):
    """`DUPLICATE`: the key is taken. `BLOCKED`: another transaction stands in the way. `OTHER`: all else."""

    DUPLICATE = auto()
    BLOCKED = auto()
    OTHER = auto()


# unique_violation; lock_not_available, query_canceled (statement_timeout), deadlock_detected, serialization_failure.
_STATES: Final = {
    "23505": Failure.DUPLICATE,
    "55P03": Failure.BLOCKED,
    "57014": Failure.BLOCKED,
    "40P01": Failure.BLOCKED,
    "40001": Failure.BLOCKED,
}
# ER_DUP_ENTRY; ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_LOCK_NOWAIT.
_NUMBERS: Final = {1062: Failure.DUPLICATE, 1205: Failure.BLOCKED, 1213: Failure.BLOCKED, 3572: Failure.BLOCKED}
# SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE; SQLITE_BUSY, SQLITE_LOCKED (primary codes).
_SQLITE_DUPLICATE: Final = frozenset({1555, 2067})
_SQLITE_BLOCKED: Final = frozenset({5, 6})
_SQLITE_CONSTRAINT: Final = 19

# Classes of SQLSTATE after which nobody knows whether COMMIT took effect: connection, resources, operator
# intervention (a cancelled wait for a standby has committed here), system, internal; and 40003, which says just that.
_UNCERTAIN_CLASSES: Final = frozenset({"08", "53", "57", "58", "F0", "XX"})
_STATEMENT_COMPLETION_UNKNOWN: Final = "40003"


def failure_of(error: BaseException) -> Failure:
    """What `error` means, whether it is the driver's own or was wrapped by SQLAlchemy or Django."""
    for each in _unwrapped(error):
        if (number := _number(each)) is not None:
            return _NUMBERS.get(number, Failure.OTHER)
        if (state := _sqlstate(each)) is not None:
            return _STATES.get(state, Failure.OTHER)
        if (code := _sqlite_code(each)) is not None:
            return _of_sqlite(code)
    return Failure.OTHER


def commit_is_uncertain(error: BaseException) -> bool:
    """Whether a COMMIT that raised `error` may have taken effect. Whoever cannot be sure says True."""
    for each in _unwrapped(error):
        if (number := _number(each)) is not None:
            return _NUMBERS.get(number) is not Failure.BLOCKED
        if (state := _sqlstate(each)) is not None:
            return state[:2] in _UNCERTAIN_CLASSES or state == _STATEMENT_COMPLETION_UNKNOWN
        if (code := _sqlite_code(each)) is not None:
            # A refused COMMIT leaves the transaction open, and the rollback that follows ends it.
            return code & 0xFF not in _SQLITE_BLOCKED | {_SQLITE_CONSTRAINT}
    return True


def _unwrapped(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps: SQLAlchemy keeps the driver's as `orig`, Django as the cause."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        wrapped = getattr(current, "orig", None)
        current = wrapped if isinstance(wrapped, BaseException) else current.__cause__


def _of_sqlite(code: int) -> Failure:
    if code in _SQLITE_DUPLICATE:
        return Failure.DUPLICATE
    return Failure.BLOCKED if code & 0xFF in _SQLITE_BLOCKED else Failure.OTHER


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _sqlite_code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None


def _number(error: BaseException) -> int | None:
    """MySQL's drivers put the number first among the arguments; it says more than their SQLSTATE does."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) and not isinstance(error, OSError) else None
