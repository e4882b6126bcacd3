"""The seam to other people's databases: what the transaction, the barrier and the inbox need of a connection.

Every method is a coroutine. On a blocking driver it never suspends, so that one core serves both (see `blocking`).
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from aftercommit.sdk.databases.dialects import Dialect
from aftercommit.sdk.databases.savepoints import Moment


class Handle(Protocol):
    """A session or connection on which business data is written, the user's own or one of ours.

    Errors are the driver's; `failures.failure_of` reads them. No method hides one, retries or logs.
    """

    @property
    def target(self) -> Any:
        """The session or connection itself."""

    @property
    def dialect(self) -> Dialect:
        """How this database spells our statements. Known before the first statement."""

    @property
    def blocking(self) -> bool:
        """Whether the methods block instead of suspending."""

    async def begin(self) -> None:
        """Be in a transaction from here on: open one, or join the one that is open.

        Raises `Misused` where a commit of ours would commit nothing or not everything: in autocommit, within a
        savepoint, within somebody else's transaction block.
        """

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of ours and return its rows (none for an INSERT); in the open transaction if there is one.

        Outside of one it stands alone, and may leave one open that `rollback` ends.
        Places are written `?` whatever the driver wants; a statement of ours has no other question mark.
        """

    async def flush(self) -> None:
        """Send what the session holds back, so that its errors come before anything is prepared."""

    async def commit(self) -> None:
        """Commit. When it raises, the outcome may be unknown: see `failures.commit_is_uncertain`."""

    async def rollback(self) -> None:
        """Undo what is open; does nothing where nothing is. Raises where the connection is lost, for example."""

    def in_transaction(self) -> bool:
        """Whether a transaction is open, as the driver knows it, without asking the server."""

    def watch(self) -> Moment:
        """Remember this moment: `kept` says later whether what is written now is still part of the open transaction.

        Not after a savepoint around it was rolled back. `ended`: the transaction itself is over. Where the driver
        tells nothing (bare connections with savepoints by hand) only what we do ourselves is known.
        """

    def separate(self) -> "Database":
        """Where a transaction of our own can run after this one has ended; may be this same connection."""


class Database(Protocol):
    """Where connections of our own come from: an engine, a pool, or a function that connects."""

    def open(self) -> AbstractAsyncContextManager[Handle]:
        """A handle outside any transaction, for the length of an `async with`.

        Afterwards nothing is left open on it: whatever was not committed is rolled back, and a connection that ended in
        an exception is closed, never handed back to a pool.
        """


class Misused(Exception):
    """What was handed in cannot carry a transaction of ours. The sentence says why and what to do.

    try:
        with client.transaction(engine) as tx:      # an engine has no transaction: give it a session
            tx.publish("orders.created", {"order": 42})
    except Misused as error:
        print(error)
    """
