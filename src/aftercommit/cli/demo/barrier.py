"""The barrier of protocol 5, by hand: one row per message says what became of its transaction, and the first wins."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aftercommit.cli.demo.database import connect, transaction
from aftercommit.domain.commands import CheckOutcome

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS aftercommit_outcome (
    message_id TEXT PRIMARY KEY,
    outcome    TEXT NOT NULL,
    at         TEXT NOT NULL
) WITHOUT ROWID;
"""
_LOCK_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 3.0


class AlreadyDecided(Exception):
    """Somebody was first; `outcome` is what the marker says. The transaction that met it must roll back."""

    def __init__(self, message_id: str, outcome: CheckOutcome) -> None:
        super().__init__(f"The transaction of message {message_id} is already {outcome}.")
        self.outcome = outcome


def mark(connection: sqlite3.Connection, message_id: str, outcome: CheckOutcome) -> None:
    """Insert the marker into the open transaction. Raises `AlreadyDecided` if there is one.

    A plain INSERT: with OR IGNORE a transaction would go on, and commit, after the check-back ruled it out.
    """
    try:
        connection.execute(
            "INSERT INTO aftercommit_outcome (message_id, outcome, at) VALUES (?, ?, ?)",
            (message_id, outcome.value, datetime.now(UTC).isoformat(timespec="milliseconds")),
        )
    except sqlite3.IntegrityError:
        raise AlreadyDecided(message_id, read(connection, [message_id])[message_id]) from None


def read(connection: sqlite3.Connection, message_ids: Sequence[str]) -> dict[str, CheckOutcome]:
    """The markers there are."""
    places = ",".join("?" * len(message_ids))
    rows = connection.execute(
        f"SELECT message_id, outcome FROM aftercommit_outcome WHERE message_id IN ({places})",  # noqa: S608 - only places
        message_ids,
    )
    return {message_id: CheckOutcome(outcome) for message_id, outcome in rows}


def settle(path: Path, message_ids: Sequence[str]) -> dict[str, CheckOutcome]:
    """What became of each transaction; one that has not committed by now never will.

    Whatever stands in the way makes the answer `unknown`, never a guess: the service asks again.
    """
    answer_until = time.monotonic() + _ANSWER_SECONDS
    with closing(connect(path, lock_seconds=_LOCK_SECONDS)) as connection:
        outcomes = read(connection, message_ids)
        for message_id in message_ids:
            if message_id not in outcomes:
                late = time.monotonic() >= answer_until
                outcomes[message_id] = CheckOutcome.UNKNOWN if late else _rule_out(connection, message_id)
    return outcomes


def _rule_out(connection: sqlite3.Connection, message_id: str) -> CheckOutcome:
    """Insert the marker that the transaction can then no longer insert; known only once that has committed."""
    try:
        with transaction(connection):
            mark(connection, message_id, CheckOutcome.ROLLED_BACK)
    except AlreadyDecided as decided:
        return decided.outcome
    except sqlite3.OperationalError:
        # Most likely the very transaction that is asked about holds the lock.
        return CheckOutcome.UNKNOWN
    return CheckOutcome.ROLLED_BACK
