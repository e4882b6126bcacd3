"""Publishing with a SQLAlchemy session whose commit is the user's own: the session's events do the rest.

Before the commit: flush, prepare, markers. After it: confirm. After a rollback: cancel, barrier first.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Unpack

from msgspec import UNSET
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.util import await_only

from aftercommit import wire
from aftercommit.sdk.barrier.markers import mark_committed
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.databases.failures import Failure, failure_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.databases.savepoints import Moment
from aftercommit.sdk.databases.sqlalchemy import SessionHandle
from aftercommit.sdk.databases.sqlalchemy_watching import WatchedSession
from aftercommit.sdk.errors import AfterCommitClientError
from aftercommit.sdk.messages import MessageOptions, new_id, new_message
from aftercommit.sdk.service import Initiator, tell
from aftercommit.sdk.transactions.giving_up import give_up
from aftercommit.sdk.transactions.points import Point, Probe
from aftercommit.sdk.transactions.transaction_errors import NotPrepared, RuledOut, TransactionEnded

_log: Final = logging.getLogger("aftercommit.transaction")


class Binding:
    """What `bind` returns. Lives as long as the session, or until `close`.

    A message goes with the transaction, and the savepoint, that is open when it is published. Where the commit raises
    one of `transaction_errors`, roll the session back, as after any other error of a commit.

        bound = client.bind(session)
        session.add(Order(number=42))
        bound.publish("orders.created", {"order": 42}, key="42")
        session.commit()                      # prepares, marks, commits, confirms
    """

    def __init__(
        self,
        service: Initiator,
        session: "Session | scoped_session[Session]",
        *,
        probe: Probe,
        confirm_later: Callable[[Sequence[str]], None] | None,
    ) -> None:
        """`session`: of a scoped_session the one of the present scope. Raises `Misused` for what is no session."""
        session = _session_of(session)
        self._service = service
        self._session = session
        self._handle = SessionHandle(session)
        self._probe = probe
        self._confirm_later = confirm_later
        self._published: list[tuple[wire.PrepareRequest, Moment]] = []
        # What the service may have heard of, and whether the commit was let through to the database.
        self._attempted: list[str] = []
        self._committing = False
        # Whether what goes with the commit is settled already.
        self._is_ready = False
        # How many commits began while a savepoint was open: of savepoints, or of the transaction around them.
        self._begun_in_savepoint = 0
        self._watched = WatchedSession(session)
        self._watched.attach()
        for name, listener in self._listeners():
            event.listen(session, name, listener)

    def publish(self, topic: str, payload: Any = UNSET, **options: Unpack[MessageOptions]) -> str:
        """Publish a message with the session's transaction; returns its id. Sends nothing before the commit.

        Raises `TransactionEnded` where the commit is under way, which is so in some listeners: it would come too late.
        """
        if options.get("confirmed"):
            raise TypeError(
                "A message of a transaction is confirmed by its commit; use client.prepare for a plain one."
            )
        message_id = options.get("id") or new_id()
        if self._is_ready:
            raise TransactionEnded(
                "This was published when the commit had begun, too late to go with it. Roll the session back.",
                [message_id],
            )
        if not self._session.in_transaction():
            # So that there is a transaction for it to belong to.
            self._session.begin()
        self._published.append(
            (new_message(topic, payload, {**options, "id": message_id}), self._watched.savepoints.watch())
        )
        return message_id

    def close(self) -> None:
        """Listen to the session no more. What was published and not committed is forgotten."""
        self._watched.detach()
        for name, listener in self._listeners():
            if event.contains(self._session, name, listener):
                event.remove(self._session, name, listener)
        self._published.clear()

    def _listeners(self) -> tuple[tuple[str, Callable[..., None]], ...]:
        return (
            ("before_commit", self._before_commit),
            ("after_commit", self._after_commit),
            ("after_soft_rollback", self._after_rollback),
            ("after_transaction_end", self._after_end),
        )

    def _before_commit(self, session: Session) -> None:
        if session.in_nested_transaction():
            self._begun_in_savepoint += 1
        else:
            self._get_ready(session)

    def _get_ready(self, session: Session) -> None:
        session.flush()
        messages = [message for message, moment in self._published if moment.kept]
        self._is_ready = True
        if messages:
            run_now(self._make_ready(messages))
            self._committing = True

    async def _make_ready(self, messages: Sequence[wire.PrepareRequest]) -> None:
        await self._handle.join()
        self._watched.require_one_connection()
        self._probe(Point.BEFORE_PREPARE)
        self._attempted = [each.id or "" for each in messages]
        try:
            for result in await self._service.prepare(messages):
                result.unwrap()
        except AfterCommitClientError as error:
            raise NotPrepared(f"Not prepared, so the session cannot commit: {error}", self._attempted) from error
        self._probe(Point.AFTER_PREPARE)
        try:
            await mark_committed(self._handle, self._attempted)
        except Exception as error:
            if failure_of(error) is not Failure.DUPLICATE:
                raise
            raise RuledOut(
                "A marker is there already: a check ruled the transaction out, or an earlier run committed. "
                "Roll the session back.",
                self._attempted,
            ) from error
        self._probe(Point.BEFORE_COMMIT)

    def _after_commit(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        message_ids, self._attempted = self._attempted, []
        self._committing = False
        self._published.clear()
        if message_ids:
            self._probe(Point.AFTER_COMMIT)
            if self._confirm_later is not None:
                self._confirm_later(message_ids)
            else:
                run_now(tell("confirm", self._service.confirm(message_ids)))
            self._probe(Point.AFTER_SEND)

    def _after_rollback(self, _session: Session, _transaction: SessionTransaction) -> None:
        # Also of a savepoint whose commit began and failed.
        self._begun_in_savepoint = 0

    def _after_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            self._after_root_end()
        elif transaction.nested:
            self._begun_in_savepoint = max(self._begun_in_savepoint - 1, 0)
            if self._begun_in_savepoint and not session.in_nested_transaction():
                # One more began than savepoints were open: the transaction's own, which ended them all on its way.
                self._get_ready(session)

    def _after_root_end(self) -> None:
        """However it ended: a session may also be closed, which is no rollback to SQLAlchemy."""
        message_ids, self._attempted = self._attempted, []
        uncertain, self._committing = self._committing, False
        self._is_ready, self._begun_in_savepoint = False, 0
        self._published.clear()
        if uncertain:
            _log.warning("A commit failed; a check-back finds out whether it took effect.")
        elif message_ids:
            run_now(give_up(self._service, self._handle.separate(), message_ids))


def sync_session_of(given: Any) -> Session:
    """The session inside a session for asyncio. Raises `Misused` for anything else."""
    session = given() if isinstance(given, async_scoped_session) else given
    if not isinstance(session, AsyncSession):
        raise Misused(f"{type(given).__name__} is no session for asyncio; give an AsyncSession.")
    return session.sync_session


def _session_of(given: Any) -> Session:
    session = given() if isinstance(given, scoped_session) else given
    if not isinstance(session, Session):
        raise Misused(
            f"{type(given).__name__} is no session to bind to; give a Session, or an AsyncSession to AsyncClient."
        )
    return session


class AwaitingService:
    """A service for asyncio, called from within SQLAlchemy's events, which are not awaited.

    SQLAlchemy runs them in a greenlet of its own, from which `await_only` waits on the event loop.
    """

    def __init__(self, service: Initiator) -> None:
        self._service = service

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Store messages."""
        return await_only(self._service.prepare(messages))

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        """Their local transaction committed."""
        return await_only(self._service.confirm(message_ids))

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        """Their local transaction can never commit."""
        return await_only(self._service.cancel(message_ids, reason))
