"""What SQLAlchemy's events tell of savepoints: by statements on a connection, by transactions on a session."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from aftercommit.sdk.databases.savepoints import Savepoints


class WatchedConnection:
    """Tells `savepoints` what happens on one connection, from `attach` to `detach`."""

    def __init__(self) -> None:
        self.savepoints = Savepoints()
        self._connection: Connection | None = None

    def attach(self, connection: Connection) -> None:
        """Listen to this connection, and no longer to another."""
        if connection is self._connection:
            return
        self.detach()
        self._connection = connection
        for name, listener in self._listeners():
            event.listen(connection, name, listener)

    def detach(self) -> None:
        """Listen no more."""
        if self._connection is not None:
            for name, listener in self._listeners():
                event.remove(self._connection, name, listener)
            self._connection = None

    def _listeners(self) -> tuple[tuple[str, Callable[..., None]], ...]:
        return (("before_cursor_execute", self._saw), ("commit", self._ended), ("rollback", self._ended))

    def _saw(self, _connection: Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        self.savepoints.saw(statement)

    def _ended(self, _connection: Connection) -> None:
        self.savepoints.ended()


class WatchedSession:
    """Tells `savepoints` what happens in one session, from `attach` to `detach`.

    Not by statements: a session sends SAVEPOINT only when something is executed inside.
    """

    def __init__(self, session: Session) -> None:
        self.savepoints = Savepoints()
        self._session = session
        self._attached = False

    def attach(self) -> None:
        """Listen, if not yet."""
        if not self._attached:
            self._attached = True
            for name, listener in self._listeners():
                event.listen(self._session, name, listener)

    def detach(self) -> None:
        """Listen no more."""
        if self._attached:
            self._attached = False
            for name, listener in self._listeners():
                event.remove(self._session, name, listener)

    def _listeners(self) -> tuple[tuple[str, Callable[..., None]], ...]:
        return (
            ("after_transaction_create", self._created),
            ("after_transaction_end", self._ended),
            ("after_soft_rollback", self._rolled_back),
        )

    def _created(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self.savepoints.opened(_name(transaction))

    def _ended(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self.savepoints.released(_name(transaction))
        elif transaction.parent is None:
            # Every flush has a transaction of its own too, inside the one that is meant.
            self.savepoints.ended()

    def _rolled_back(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            # Comes after its end.
            self.savepoints.undone(_name(transaction))


def _name(transaction: SessionTransaction) -> str:
    return str(id(transaction))
