"""What a client does with the user's own database: transactions, bindings, and confirms nobody waits for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.service import AsyncBatchCalls, AsyncService, BatchCalls, BlockingService, tell
from aftercommit.sdk.transactions.confirming import AsyncBackgroundConfirms, BackgroundConfirms
from aftercommit.sdk.transactions.outbox import Fallback
from aftercommit.sdk.transactions.points import Probe, no_probe
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction, handle_for
from aftercommit.sdk.transactions.unit import Unit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from aftercommit.sdk.transactions.binding import Binding

# Whether leaving a transaction waits for the confirm's answer.
ConfirmMode: TypeAlias = Literal["wait", "background"]
# What takes messages while the service cannot be reached; None: the transaction is refused.
FallbackMode: TypeAlias = Literal["outbox"]


class Transactions:
    """The transactions of one `Client`."""

    def __init__(self, client: BatchCalls, *, confirm: ConfirmMode, fallback: FallbackMode | None) -> None:
        self._service = service = BlockingService(client)
        self._confirms = (
            BackgroundConfirms(lambda ids: run_now(tell("confirm", service.confirm(ids))))
            if confirm == "background"
            else None
        )
        self._fallback = Fallback() if fallback == "outbox" else None

    def begin(self, session: Any, unit: Unit | None, probe: Probe) -> Transaction:
        """A transaction that is entered later."""
        return Transaction(
            self._service,
            handle_for(session, blocking=True),
            unit=unit,
            probe=probe,
            confirm_later=self._confirms,
            fallback=self._fallback,
        )

    def bind(self, session: "Session | scoped_session[Session]", probe: Probe) -> "Binding":
        """A binding to a session."""
        binding: Binding = _binding().Binding(self._service, session, probe=probe, confirm_later=self._confirms)
        return binding

    def close(self) -> None:
        """Confirm what waits."""
        if self._confirms is not None:
            self._confirms.close()


class AsyncTransactions:
    """The transactions of one `AsyncClient`."""

    def __init__(self, client: AsyncBatchCalls, *, confirm: ConfirmMode, fallback: FallbackMode | None) -> None:
        self._service = service = AsyncService(client)
        self._confirms = (
            AsyncBackgroundConfirms(lambda ids: tell("confirm", service.confirm(ids)))
            if confirm == "background"
            else None
        )
        self._fallback = Fallback() if fallback == "outbox" else None

    def begin(self, session: Any, unit: Unit | None, probe: Probe) -> AsyncTransaction:
        """A transaction that is entered later."""
        return AsyncTransaction(
            self._service,
            handle_for(session, blocking=False),
            unit=unit,
            probe=probe,
            confirm_later=self._confirms,
            fallback=self._fallback,
        )

    def bind(self, session: "AsyncSession | async_scoped_session[AsyncSession]", probe: Probe) -> "Binding":
        """A binding to a session."""
        module = _binding()
        binding: Binding = module.Binding(
            module.AwaitingService(self._service),
            module.sync_session_of(session),
            probe=probe,
            confirm_later=self._confirms,
        )
        return binding

    async def close(self) -> None:
        """Confirm what waits."""
        if self._confirms is not None:
            await self._confirms.close()


class TransactionCalls:
    """The part of `Client` that works on the user's database."""

    probe: Probe = staticmethod(no_probe)
    _transactions: Transactions

    def transaction(self, session: Any, *, unit: Unit | None = None) -> Transaction:
        """A local transaction that publishes: its messages are delivered if, and only if, it commits.

        `session`: a SQLAlchemy Session or Connection, or a connection of psycopg, PyMySQL, sqlite3 or Django, with the
        tables of `aftercommit.sdk.tables` in its database. The block commits it. `unit`: the same for every retry of
        one piece of work, see `Unit`. Raises `Misused` for anything else, and what `transaction_errors` lists.

            with Session() as session, client.transaction(session) as tx:
                session.add(Order(number=42))
                tx.publish("orders.created", {"order": 42}, key="42")
        """
        return self._transactions.begin(session, unit, self.probe)

    def bind(self, session: "Session | scoped_session[Session]") -> "Binding":
        """Publish with a SQLAlchemy session whose commit is yours: its events prepare, mark and confirm.

        bound = client.bind(session)
        session.add(Order(number=42))
        bound.publish("orders.created", {"order": 42})
        session.commit()
        """
        return self._transactions.bind(session, self.probe)


class AsyncTransactionCalls:
    """The part of `AsyncClient` that works on the user's database."""

    probe: Probe = staticmethod(no_probe)
    _transactions: AsyncTransactions

    def transaction(self, session: Any, *, unit: Unit | None = None) -> AsyncTransaction:
        """A local transaction that publishes, for `async with`; see `Client.transaction`.

        `session`: a SQLAlchemy AsyncSession or AsyncConnection, or a connection of asyncpg, psycopg (AsyncConnection),
        asyncmy or aiosqlite.

            async with AsyncSession(engine) as session, client.transaction(session) as tx:
                session.add(Order(number=42))
                tx.publish("orders.created", {"order": 42}, key="42")
        """
        return self._transactions.begin(session, unit, self.probe)

    def bind(self, session: "AsyncSession | async_scoped_session[AsyncSession]") -> "Binding":
        """Publish with a SQLAlchemy session whose commit is yours: its events prepare, mark and confirm.

        bound = client.bind(session)
        session.add(Order(number=42))
        bound.publish("orders.created", {"order": 42})
        await session.commit()
        """
        return self._transactions.bind(session, self.probe)


def _binding() -> Any:
    try:
        return import_module("aftercommit.sdk.transactions.binding")
    except ModuleNotFoundError as error:
        raise Misused("Binding needs SQLAlchemy: pip install 'aftercommit[sqlalchemy]'.") from error
