"""Barriers that are not good enough, put in the SDK's place within one process, to show that the races find them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from aftercommit.sdk.barrier import barrier, markers
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.databases.dialects import MYSQL, OUTCOME_TABLE, Dialect
from aftercommit.sdk.databases.failures import Failure, failure_of
from aftercommit.sdk.databases.port import Database, Handle
from aftercommit.sdk.service import tell
from aftercommit.sdk.transactions import giving_up, local


def _switch_off() -> None:
    """No markers. A check looks whether there is a business row, as hand-written initiators do."""

    async def mark_nothing(handle: Handle, message_ids: Sequence[str]) -> None:
        """No marker."""

    async def all_marked(handle: Handle, message_ids: Sequence[str]) -> dict[str, Outcome]:
        return dict.fromkeys(message_ids, Outcome.COMMITTED)

    async def look(database: Database, message_ids: Sequence[str], **_: Any) -> dict[str, Outcome]:
        outcomes = dict.fromkeys(message_ids, Outcome.UNKNOWN)
        try:
            async with database.open() as handle:
                for each in message_ids:
                    rows = await handle.execute("SELECT 1 FROM effects WHERE message_id = ?", [each])
                    outcomes[each] = Outcome.COMMITTED if rows else Outcome.ROLLED_BACK
                await handle.rollback()
        except Exception as error:
            markers._log.warning("Could not look: %s", error)
        return outcomes

    local.mark_committed, local.read_markers = mark_nothing, all_marked  # type: ignore[attr-defined]
    barrier.settle = giving_up.settle = look  # type: ignore[attr-defined]


def _ignore_duplicates() -> None:
    """A marker that is there already is passed over, so that what was ruled out commits."""

    def mark(dialect: Dialect, rows: int) -> str:
        words, end = {"mysql": ("INSERT IGNORE", ""), "sqlite": ("INSERT OR IGNORE", "")}.get(
            dialect.name, ("INSERT", " ON CONFLICT DO NOTHING")
        )
        values = ", ".join([f"(?, ?, {dialect.now})"] * rows)
        return f"{words} INTO {OUTCOME_TABLE} (message_id, outcome, at) VALUES {values}{end}"

    Dialect.mark = mark  # type: ignore[method-assign, assignment]


def _take_for_rolled_back(failure: Failure) -> Callable[[], None]:
    """A check that takes this failure of its INSERT for an answer instead of reading again, or asking later."""

    def patch() -> None:
        careful = markers._rule_out
        if failure is Failure.DUPLICATE:
            # The probe would find most of what is there before the INSERT could fail on it.
            object.__setattr__(MYSQL, "probe", None)

        async def careless(handle: Handle, message_id: str) -> Outcome:
            try:
                found = await markers._insert_rolled_back(handle, message_id)
            except Exception as error:
                await handle.rollback()
                if failure_of(error) is failure:
                    return Outcome.ROLLED_BACK
                return await careful(handle, message_id)
            await (handle.rollback() if found else handle.commit())
            return found or Outcome.ROLLED_BACK

        markers._rule_out = careless

    return patch


def _cancel_after_commit() -> None:
    """Whatever COMMIT raises is taken for a rollback, and the messages are cancelled without asking the barrier."""

    async def commit(transaction: local.LocalTransaction) -> None:
        try:
            await transaction._handle.commit()
        except Exception:
            await transaction._roll_back()
            await tell("cancel", transaction._service.cancel(transaction._attempted, "COMMIT failed"))
            raise

    local.LocalTransaction._commit = commit  # type: ignore[method-assign, assignment]


WEAKER: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        "off": _switch_off,
        "ignoring": _ignore_duplicates,
        "impatient": _take_for_rolled_back(Failure.BLOCKED),
        "unread": _take_for_rolled_back(Failure.DUPLICATE),
        "hasty": _cancel_after_commit,
    }
)
