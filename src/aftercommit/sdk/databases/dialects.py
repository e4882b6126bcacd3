"""How each database spells the few statements of ours. Dialects are data: the barrier and the inbox know no database.

Sources: PostgreSQL 15 manual (SET, explicit locking), MariaDB 10.11 and MySQL 8.0 manuals (InnoDB locking reads),
sqlite.org/pragma.html. Places are written `?`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

OUTCOME_TABLE: Final = "aftercommit_outcome"
INBOX_TABLE: Final = "aftercommit_inbox"
OUTBOX_TABLE: Final = "aftercommit_outbox"
# Statements with more rows than this are split: SQLite takes 32,766 parameters, MySQL's packet has a limit too.
ROWS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Saved:
    """Settings of a session that a check changes: how to read them, and how to put the numbers back."""

    read: str
    restore: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One database. `now`: its clock, in UTC.

    A check runs `session` once on its connection, `before_begin` ahead of each transaction and `after_begin` as its
    first statements: READ COMMITTED, and a lock time-out of 100 ms or as near to it as the database has. `probe`: reads
    the outcome of an id, and fails at once where another transaction holds its row, for databases whose shortest lock
    time-out is a second.
    """

    name: str
    now: str
    before_now_days: str
    session: tuple[str, ...] = ()
    before_begin: tuple[str, ...] = ()
    after_begin: tuple[str, ...] = ()
    saved: Saved | None = None
    probe: str | None = None
    begin: str = "BEGIN"

    def mark(self, rows: int) -> str:
        """Insert `rows` markers of one outcome; parameters: id and outcome of each."""
        return _insert(OUTCOME_TABLE, "message_id, outcome, at", f"(?, ?, {self.now})", rows)

    def markers(self, rows: int) -> str:
        """Read id and outcome of the markers of `rows` ids."""
        return f"SELECT message_id, outcome FROM {OUTCOME_TABLE} WHERE message_id IN ({_places(rows)})"

    def receive(self) -> str:
        """Insert the inbox row; parameters: subscription and message id."""
        return _insert(INBOX_TABLE, "subscription, message_id, at", f"(?, ?, {self.now})", 1)

    def received(self) -> str:
        """Read the inbox row; parameters: subscription and message id."""
        return f"SELECT message_id FROM {INBOX_TABLE} WHERE subscription = ? AND message_id = ?"

    def store(self, rows: int) -> str:
        """Insert messages into the outbox; parameters: id and encoded message of each."""
        return _insert(OUTBOX_TABLE, "message_id, message, at", f"(?, ?, {self.now})", rows)

    def stored(self) -> str:
        """Read messages of the outbox in the order of their ids, after an id; parameters: the id, how many."""
        return f"SELECT message_id, message FROM {OUTBOX_TABLE} WHERE message_id > ? ORDER BY message_id LIMIT ?"

    def relayed(self, rows: int) -> str:
        """Delete messages from the outbox."""
        return f"DELETE FROM {OUTBOX_TABLE} WHERE message_id IN ({_places(rows)})"

    def old_markers(self) -> str:
        """Read ids of markers older than some days, after an id; parameters: days, the id, how many."""
        return (
            f"SELECT message_id FROM {OUTCOME_TABLE} WHERE at < {self.before_now_days} AND message_id > ? "
            "ORDER BY message_id LIMIT ?"
        )

    def newest_markers(self) -> str:
        """Read the newest ids of markers; parameter: how many."""
        return f"SELECT message_id FROM {OUTCOME_TABLE} ORDER BY message_id DESC LIMIT ?"

    def forget_markers(self, rows: int) -> str:
        """Delete markers."""
        return f"DELETE FROM {OUTCOME_TABLE} WHERE message_id IN ({_places(rows)})"

    def old_receipts(self) -> str:
        """Read message ids of a subscription's inbox rows older than some days.

        Parameters: the subscription, days, the id, how many.
        """
        return (
            f"SELECT message_id FROM {INBOX_TABLE} WHERE subscription = ? AND at < {self.before_now_days} "
            "AND message_id > ? ORDER BY message_id LIMIT ?"
        )

    def newest_receipts(self) -> str:
        """Read the newest message ids of a subscription's inbox rows; parameters: the subscription, how many."""
        return f"SELECT message_id FROM {INBOX_TABLE} WHERE subscription = ? ORDER BY message_id DESC LIMIT ?"

    def forget_receipts(self, rows: int) -> str:
        """Delete inbox rows; parameters: the subscription, then the ids."""
        return f"DELETE FROM {INBOX_TABLE} WHERE subscription = ? AND message_id IN ({_places(rows)})"


POSTGRESQL: Final = Dialect(
    name="postgresql",
    now="now()",
    before_now_days="now() - make_interval(days => ?)",
    after_begin=(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET LOCAL lock_timeout = '100ms'",
        "SET LOCAL statement_timeout = '1s'",
        # A verdict must outlive the server, whatever the application chose for its own transactions.
        "SET LOCAL synchronous_commit = on",
    ),
)
MYSQL: Final = Dialect(
    name="mysql",
    now="UTC_TIMESTAMP(3)",
    before_now_days="UTC_TIMESTAMP(3) - INTERVAL ? DAY",
    # One second is the least that MySQL has; the probe before each insert makes waiting the exception.
    session=("SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1",),
    # Without SESSION: for the next transaction only, so that nothing is left to restore.
    before_begin=("SET TRANSACTION ISOLATION LEVEL READ COMMITTED",),
    saved=Saved(
        read="SELECT @@SESSION.innodb_lock_wait_timeout, @@SESSION.lock_wait_timeout",
        restore="SET SESSION innodb_lock_wait_timeout = {}, lock_wait_timeout = {}",
    ),
    probe=f"SELECT outcome FROM {OUTCOME_TABLE} WHERE message_id = ? FOR UPDATE NOWAIT",
)
SQLITE: Final = Dialect(
    name="sqlite",
    now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    before_now_days="strftime('%Y-%m-%d %H:%M:%f', 'now', (0 - ?) || ' days')",
    session=("PRAGMA busy_timeout = 100",),
    saved=Saved(read="PRAGMA busy_timeout", restore="PRAGMA busy_timeout = {}"),
    # A transaction that begins by reading cannot wait for the writer: it would have to write on an old snapshot.
    begin="BEGIN IMMEDIATE",
)
DIALECTS: Final = {
    "postgresql": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "sqlite": SQLITE,
}


def in_chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    """The ids in portions that fit one statement."""
    return [ids[start : start + ROWS_MAX] for start in range(0, len(ids), ROWS_MAX)]


def _insert(table: str, columns: str, row: str, rows: int) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"


def _places(count: int) -> str:
    return ", ".join("?" * count)
