"""A connection as this store uses it, whatever the driver, and what can go wrong with it."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from aftercommit.domain.errors import StoreUnavailable
from aftercommit.stores.sql.statements import Put

Row: TypeAlias = Sequence[Any]


class ConnectionLost(StoreUnavailable):
    """The connection broke. In a COMMIT that leaves open whether it took place."""


class Collision(StoreUnavailable):
    """A deadlock or a serialization failure: the transaction is undone, and may succeed when it is run again."""


class Duplicate(StoreUnavailable):
    """A row with this key exists already: the transaction is undone."""


class Session(Protocol):
    """One connection, in a transaction or not. Errors are those of this module, or a bug of ours (`Inconsistency`).

    After any error nothing but `rollback` and `terminate` makes sense.
    """

    @property
    def usable(self) -> bool:
        """Whether it is connected and in no transaction, as far as this side knows."""

    async def begin(self) -> None:
        """Begin a transaction, READ COMMITTED."""

    async def commit(self) -> None:
        """Make it durable."""

    async def rollback(self) -> None:
        """Undo it. Does nothing where there is none."""

    async def rows(self, statement: str, *values: object) -> Sequence[Row]:
        """All rows of a query. Values stand for `$1` or `%s`; a list stands for an array, or for `IN %s`."""

    async def run(self, statement: str, *values: object) -> int:
        """How many rows a statement changed."""

    async def put(self, *puts: tuple[Put, Sequence[Sequence[object]]]) -> list[int]:
        """Write rows of several kinds in as few statements as may be; how many were written of each kind.

        No kind sees what another of the same call writes.
        """

    def terminate(self) -> None:
        """Close the socket, at once and without a word to the server. May be called twice."""
