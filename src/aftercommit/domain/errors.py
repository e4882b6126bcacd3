"""What can go wrong, in three families.

AfterCommitError
├── CallerError            the caller's fault; has a stable code, never helped by a retry
│   ├── Invalid            well-formed but wrong (points at the field)
│   ├── NotFound           does not exist, or not for this caller
│   └── Conflict           refused by the present state
├── TemporarilyUnavailable try again later
│   ├── Overloaded         too much waits already; shed at the door
│   └── StoreUnavailable   the database cannot be written or read now
├── ConfigurationError     the service cannot start like this; the sentence says what to change
└── Inconsistency          our bug: loud, never answered as if nothing happened
"""


class AfterCommitError(Exception):
    """The root of everything this package raises on purpose."""


class CallerError(AfterCommitError):
    """The caller must change something. `code` is stable; `pointer` is a JSON Pointer to the field at fault."""

    def __init__(self, code: str, detail: str, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer


class Invalid(CallerError):
    """Well-formed but wrong: a value out of range, a field that does not exist."""


class NotFound(CallerError):
    """It does not exist, or it is not this caller's to know that it does."""


class Conflict(CallerError):
    """The present state refuses it; the detail says which state."""


class TemporarilyUnavailable(AfterCommitError):
    """Nothing was changed; the same call may succeed after `retry_after_seconds`."""

    code = "unavailable"

    def __init__(self, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class Overloaded(TemporarilyUnavailable):
    """More work waits than may wait."""

    code = "overloaded"


class StoreUnavailable(TemporarilyUnavailable):
    """The database cannot be used now: full, read-only, locked or gone."""

    code = "store_unavailable"


class ConfigurationError(AfterCommitError):
    """The service cannot run as configured."""


class Inconsistency(AfterCommitError):
    """An invariant does not hold: a bug of ours, or a database changed by somebody else."""
