"""What SQLAlchemy's events tell of savepoints: by statements on a connection, by transactions on a session."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from aftercommit.sdk.databases.port import Misused
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

    Savepoints not by statements: a session sends SAVEPOINT only when something is executed inside. But a COMMIT or
    ROLLBACK that the user sends as a statement is no event of the session.
    """

    def __init__(self, session: Session) -> None:
        self.savepoints = Savepoints()
        self._session = session
        self._attached = False
        self._connections: set[Connection] = set()
        self._listened: list[Connection] = []

    def attach(self, connection: Connection | None = None) -> None:
        """Listen, if not yet, to the session and to the connection that it has already."""
        if connection is not None:
            self._listen_to(connection)
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
            self._connections.clear()
        self._listen_no_more()

    def require_one_connection(self) -> None:
        """Raises `Misused` where the session's transaction is several, of which each commits for itself."""
        # What began before we listened SQLAlchemy keeps in an attribute of its own.
        before = getattr(self._session.get_transaction(), "_connections", {})
        if len(self._connections.union(each for each in before if isinstance(each, Connection))) > 1:
            raise Misused(
                "This session has used more than one engine, so that its commit is more than one and the markers are "
                "in only one of them. Use a session with one engine here, and another session for the rest."
            )

    def _listeners(self) -> tuple[tuple[str, Callable[..., None]], ...]:
        return (
            ("after_begin", self._begun),
            ("after_transaction_create", self._created),
            ("after_transaction_end", self._ended),
            ("after_soft_rollback", self._rolled_back),
        )

    def _begun(self, _session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
        self._connections.add(connection)
        self._listen_to(connection)

    def _listen_to(self, connection: Connection) -> None:
        if connection not in self._listened:
            self._listened.append(connection)
            event.listen(connection, "before_cursor_execute", self._saw)

    def _listen_no_more(self) -> None:
        while self._listened:
            event.remove(self._listened.pop(), "before_cursor_execute", self._saw)

    def _saw(self, _connection: Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        self.savepoints.saw_end(statement)

    def _created(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self.savepoints.opened(_name(transaction))

    def _ended(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self.savepoints.released(_name(transaction))
        elif transaction.parent is None:
            # Every flush has a transaction of its own too, inside the one that is meant.
            self.savepoints.ended()
            self._connections.clear()
            self._listen_no_more()

    def _rolled_back(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            # Comes after its end.
            self.savepoints.undone(_name(transaction))


def _name(transaction: SessionTransaction) -> str:
    return str(id(transaction))
