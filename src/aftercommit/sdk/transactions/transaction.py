"""`with client.transaction(session) as tx`: business data and messages, delivered if and only if it commits."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from types import TracebackType
from typing import Any, Self, Unpack

from msgspec import UNSET

from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.databases.port import Handle, Misused
from aftercommit.sdk.databases.savepoints import Savepoints
from aftercommit.sdk.messages import MessageOptions, new_message
from aftercommit.sdk.service import Initiator
from aftercommit.sdk.transactions.local import LocalTransaction
from aftercommit.sdk.transactions.outbox import Fallback
from aftercommit.sdk.transactions.points import Probe, no_probe
from aftercommit.sdk.transactions.unit import Unit


class _Publishing:
    """What both forms of the transaction share. `local` is the part that runs it; users have no need of it."""

    def __init__(
        self,
        service: Initiator,
        handle: Handle,
        *,
        unit: Unit | None = None,
        probe: Probe = no_probe,
        confirm_later: Callable[[Sequence[str]], None] | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self._handle = handle
        self._unit = unit or Unit()
        self._unit.begin_run()
        self.local = LocalTransaction(
            service, handle, self._unit, probe=probe, confirm_later=confirm_later, fallback=fallback
        )
        self._savepoint_numbers = count(1)

    @property
    def session(self) -> Any:
        """The session or connection of this transaction, as the database's library made it."""
        return self._handle.target

    @property
    def already_done(self) -> bool:
        """Whether an earlier run of the same unit had committed, so that this one was rolled back.

        Known after the block, or at its beginning where a message was published before it. Also where the block itself
        raised, because what it inserts is there already: the error comes out, and `already_done` says why.
        """
        return self.local.already_done

    def publish(self, topic: str, payload: Any = UNSET, **options: Unpack[MessageOptions]) -> str:
        """Publish a message with this transaction; returns its id. Arguments and options are those of `prepare`.

        Nothing is sent yet: all messages of the block are prepared in one call at its end. Those published *before*
        the block are prepared before the transaction begins, so that no call is made while rows are locked. One that
        is published inside a savepoint goes with the savepoint (see `savepoint`).

            tx.publish("orders.created", {"order": 42}, key="42")
        """
        if options.get("confirmed"):
            raise TypeError(
                "A message of a transaction is confirmed by its commit; use client.prepare for a plain one."
            )
        message_id = options.get("id") or self._unit.next_id()
        self.local.publish(new_message(topic, payload, {**options, "id": message_id}))
        return message_id

    def _savepoints(self) -> Savepoints:
        savepoints = getattr(self._handle, "savepoints", None)
        if not isinstance(savepoints, Savepoints):
            raise Misused("Savepoints of this session or connection are its own: use begin_nested() or atomic().")
        return savepoints


class Transaction(_Publishing):
    """A local transaction that publishes, made by `Client.transaction`.

    Leaving the block commits: prepare (one call for all messages), their markers (one statement), the COMMIT, confirm
    (one call). An exception rolls back, and nothing is delivered. What a crash leaves open, check-back settles from the
    markers. Raises what `transaction_errors` lists, and the database's own errors as they are.

        with Session() as session, client.transaction(session) as tx:
            session.add(Order(number=42))
            tx.publish("orders.created", {"order": 42}, key="42")
    """

    def __enter__(self) -> Self:
        run_now(self.local.begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_now(self.local.finish() if error is None else self.local.cancel(error))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A savepoint on a bare connection; an exception undoes what was written and published in it, and goes on.

        with suppress(OutOfStock), tx.savepoint():
            reserve(connection, item)
            tx.publish("stock.reserved", {"item": item})
        """
        savepoints, name = self._savepoints(), f"aftercommit_{next(self._savepoint_numbers)}"
        run_now(self._handle.execute(f"SAVEPOINT {name}"))
        savepoints.opened(name)
        try:
            yield
        except BaseException:
            savepoints.undone(name)
            run_now(self._handle.execute(f"ROLLBACK TO SAVEPOINT {name}"))
            raise
        run_now(self._handle.execute(f"RELEASE SAVEPOINT {name}"))
        savepoints.released(name)


class AsyncTransaction(_Publishing):
    """The same for asyncio, made by `AsyncClient.transaction`. `publish` is not awaited: it sends nothing.

    async with AsyncSession(engine) as session, client.transaction(session) as tx:
        session.add(Order(number=42))
        tx.publish("orders.created", {"order": 42}, key="42")
    """

    async def __aenter__(self) -> Self:
        await self.local.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.local.finish() if error is None else self.local.cancel(error))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A savepoint on a bare connection; an exception undoes what was written and published in it, and goes on."""
        savepoints, name = self._savepoints(), f"aftercommit_{next(self._savepoint_numbers)}"
        await self._handle.execute(f"SAVEPOINT {name}")
        savepoints.opened(name)
        try:
            yield
        except BaseException:
            savepoints.undone(name)
            await self._handle.execute(f"ROLLBACK TO SAVEPOINT {name}")
            raise
        await self._handle.execute(f"RELEASE SAVEPOINT {name}")
        savepoints.released(name)


def handle_for(target: Any, *, blocking: bool) -> Handle:
    """The handle on a session or connection, of the kind that the client can use. Raises `Misused`."""
    handle = handle_of(target)
    if handle.blocking and not blocking:
        raise Misused(f"{type(target).__name__} blocks; use it with Client, not with AsyncClient.")
    if blocking and not handle.blocking:
        raise Misused(f"{type(target).__name__} is for asyncio; use it with AsyncClient, not with Client.")
    return handle
