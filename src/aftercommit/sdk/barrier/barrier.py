"""What answers checks from the initiator's own database. The rules are in `markers`, the protocol's section 5."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aftercommit import wire
from aftercommit.sdk.barrier.markers import ANSWER_SECONDS, settle
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.barrier.purge import KEEP_DAYS, purge_markers
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import database_of
from aftercommit.sdk.databases.port import Database
from aftercommit.sdk.service import AsyncBatchCalls, AsyncService, BatchCalls, BlockingService


class _Barrier:
    """Where the markers are: one database, or one per check."""

    def __init__(
        self,
        database: Any = None,
        *,
        route: Callable[[wire.Check], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`database`: an engine, a pool, or a function that connects, to the *primary*, as the transactions' own.

        `route` instead of it, where there are several: from a check (its `hint`, `key`, `topic`) to the database, or
        None where nobody knows, which is answered `unknown`. `clock`: monotonic seconds, a seam for tests.
        """
        if (database is None) == (route is None):
            raise TypeError("Give a barrier its database, or a route from a check to one.")
        self._database = None if database is None else database_of(database)
        self._route = route or (lambda _check: database)
        self._clock = clock

    async def _check(self, checks: Sequence[wire.Check]) -> dict[str, Outcome]:
        until = self._clock() + ANSWER_SECONDS
        outcomes = {each.id: Outcome.UNKNOWN for each in checks}
        for database, message_ids in self._by_database(checks):
            left = until - self._clock()
            if left > 0:
                outcomes |= await settle(database, message_ids, seconds=left, clock=self._clock)
        return outcomes

    def _by_database(self, checks: Sequence[wire.Check]) -> Iterable[tuple[Database, list[str]]]:
        found: dict[int, tuple[Any, list[str]]] = {}
        for each in checks:
            target = self._route(each)
            if target is not None:
                found.setdefault(id(target), (target, []))[1].append(each.id)
        return [(database_of(target), ids) for target, ids in found.values()]

    def _only_database(self) -> Database:
        if self._database is None:
            raise TypeError("A barrier with a route purges nothing: make one barrier per database for that.")
        return self._database


class Barrier(_Barrier):
    """Answers checks from the outcome table (see `tables`), with blocking drivers.

    barrier = Barrier(engine)                            # SQLAlchemy
    barrier = Barrier(lambda: psycopg.connect(dsn))      # any driver
    responder = CheckResponder(barrier, secrets=[secret])
    """

    def check(self, checks: Sequence[wire.Check]) -> dict[str, Outcome]:
        """What became of the local transactions; every id is answered, within 3 s and what one lock time-out adds.

        One that has not committed by now is ruled out, and can never commit. Raises nothing a database may do.
        """
        return run_now(self._check(checks))

    def purge(self, client: BatchCalls, *, keep_days: int = KEEP_DAYS) -> int:
        """Delete old markers of messages that are settled or unknown at the service; returns how many.

        Run it now and then. Raises the driver's errors and the client's; may be repeated at any time.
        """
        return run_now(purge_markers(self._only_database(), BlockingService(client), keep_days=keep_days))


class AsyncBarrier(_Barrier):
    """The same with drivers for asyncio: methods, arguments and answers are those of `Barrier`, awaitable.

    barrier = AsyncBarrier(async_engine)
    responder = CheckResponder(barrier, secrets=[secret])
    """

    async def check(self, checks: Sequence[wire.Check]) -> dict[str, Outcome]:
        """What became of the local transactions."""
        return await self._check(checks)

    async def purge(self, client: AsyncBatchCalls, *, keep_days: int = KEEP_DAYS) -> int:
        """Delete old markers of messages that are settled or unknown at the service; returns how many."""
        return await purge_markers(self._only_database(), AsyncService(client), keep_days=keep_days)
