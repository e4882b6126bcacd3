"""Folds driven over a session's transaction: what they ask is read and locked, what they change is written."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aftercommit.domain.errors import Inconsistency
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Content, Delivery, DueKind, Message
from aftercommit.stores import columns
from aftercommit.stores.due import Due, due_at, earliest, longest_due
from aftercommit.stores.fold import Changes, Contents, DueNow, Fingerprints, Fold, Question, Replays, States
from aftercommit.stores.sql import rows
from aftercommit.stores.sql.session import Duplicate, Row, Session
from aftercommit.stores.sql.statements import Statements

# How soon something is looked at again that is due but held by somebody else.
HELD_MS: Final = 50
# How many stretches of a lane are looked at for one claim before what is held by others is left to them.
STRETCHES_MAX: Final = 4
# Payloads written by one statement, in bytes.
_PIECE_BYTES: Final = 4 << 20
_BEGINNING: Final = (-1, "00000000-0000-0000-0000-000000000000")


class Folder:
    """One transaction's reading and writing. Rows are locked, never waited for: what others hold is `Fold.busy`.

    `optimistic`: what is only prepared is taken to be new, and not locked; `Duplicate` says that it was not.
    `stripe`: which of the counters is this writer's.
    """

    def __init__(
        self, session: Session, statements: Statements, fold: Fold, *, now: int, stripe: int, optimistic: bool = False
    ) -> None:
        self._session = session
        self._statements = statements
        self._fold = fold
        self._now = now
        self._stripe = stripe
        self._optimistic = optimistic
        self._taken_for_new: set[str] = set()

    async def answer(self, question: Question) -> Any:
        """What a fold wants to know."""
        match question:
            case States(ids, prepared):
                new = set(prepared) - await self._there(prepared) if self._optimistic else ()
                self._taken_for_new.update(new)
                return await self.states([each for each in ids if each not in new])
            case DueNow(kind, lane, limit, without):
                return await self.due(kind, lane, limit, without)
            case Fingerprints(ids):
                found = await self._session.rows(self._statements.fingerprints, list(ids))
                return {row[0]: bytes(row[1]) for row in found}
            case Contents(ids):
                return await self.contents(ids)
            case Replays(originals):
                return [row[0] for row in await self._session.rows(self._statements.replay_ids, list(originals))]

    async def states(self, ids: Sequence[str]) -> list[Message]:
        """The messages among `ids` that exist, locked; those that others hold become the fold's busy ones."""
        if not ids:
            return []
        found = await self._locked(ids)
        if len(found) < len(ids):
            # Asked anew: in the statement that skipped them nothing tells the locked from the absent.
            there = {each.id for each in found}
            missing = [each for each in ids if each not in there]
            for message_id, status in await self._session.rows(self._statements.statuses, missing):
                self._fold.busy[message_id] = Status(status)
        return found

    async def due(self, kind: DueKind, lane: int, limit: int, without: Collection[str]) -> Due:
        """Up to `limit` messages with due work, locked; what others hold is passed over.

        The ids are read first and locked second, by their keys alone: a statement that does both would leave locks on
        an index on MySQL.
        """
        taken: list[Message] = []
        after, next_at, held = _BEGINNING, None, False
        for _ in range(STRETCHES_MAX):
            # So long that it holds one more than wanted, whatever is left out of it.
            length = limit + 1 + len(without)
            stretch = await self._stretch(kind, lane, after, length)
            free = [each for each in stretch if each[1] not in without]
            wanted = [each for each in free if each[0] <= self._now][: limit - len(taken)]
            found = await self._locked([message_id for _at, message_id in wanted])
            taken += (each for each in found if _is_due(each, kind, lane, self._now))
            held = held or len(found) < len(wanted)
            next_at = next((at for at, _id in free[len(wanted) :]), None)
            whole = len(stretch) < length
            if len(taken) >= limit or whole or (next_at is not None and next_at > self._now):
                break
            after = wanted[-1] if wanted else stretch[-1]
        again = self._now + HELD_MS if held else None
        return longest_due(taken, kind, lane, limit, earliest((next_at, again)))

    async def contents(self, ids: Collection[str]) -> dict[str, Content]:
        """What messages carry."""
        found = await self._session.rows(self._statements.contents, list(ids)) if ids else ()
        return {row[0]: rows.content(row) for row in found}

    async def write(self, changes: Changes) -> None:
        """Write what changed. Raises `Duplicate` where a new message is there already."""
        statements = self._statements
        stored = changes.stored
        new = rows.message_rows((each for each in changes.changed.values() if each.id not in stored), stored)
        known = rows.message_rows((each for each in changes.changed.values() if each.id in stored), stored)
        inline = rows.moved_inline(changes.changed, changes.stored)
        if inline:
            await self._session.run(statements.forget_deliveries, inline)
        *bulky, contents = _pieces(changes.contents)
        for piece in bulky:
            await self._session.put((statements.insert_contents, piece))
        usual, whole, *_rest = await self._session.put(
            (statements.update_usual, known.usual),
            (statements.update_messages, known.whole),
            (statements.insert_usual, new.usual),
            (statements.insert_messages, new.whole),
            (statements.insert_contents, contents),
            (statements.put_deliveries, rows.delivery_rows(changes.changed, changes.stored)),
            (statements.insert_events, rows.event_rows(changes.events)),
            (statements.add_tallies, tally_rows(self._stripe, columns.tally_changes(changes.changed, changes.stored))),
        )
        missing = len(known.usual) + len(known.whole) - usual - whole
        if missing:
            raise Inconsistency(f"{missing} locked messages changed between reading and writing.")
        for message_id, original in changes.copies.items():
            if await self._session.run(statements.copy_content, message_id, original) != 1:
                raise Inconsistency(f"Message {original} has no content to send again as {message_id}.")

    async def add_tallies(self, changes: Mapping[columns.Tallied, int]) -> None:
        """Add to the counts, last of all: whoever shares the stripe waits until the end of this transaction."""
        await self._session.put((self._statements.add_tallies, tally_rows(self._stripe, changes)))

    async def _there(self, prepared: Collection[str]) -> set[str]:
        """Those of the prepared messages that must be looked at, because writing them anew would wait.

        MySQL does not call a row a duplicate before it has a lock on the one that is there, whoever holds that.
        """
        if not prepared or not self._statements.waits_for_duplicates:
            return set()
        return {row[0] for row in await self._session.rows(self._statements.statuses, list(prepared))}

    async def _locked(self, ids: Sequence[str]) -> list[Message]:
        if not ids:
            return []
        found = await self._session.rows(self._statements.lock_states, list(ids))
        known = next((row[0] for row in found if row[0] in self._taken_for_new), None)
        if known is not None:
            # A claim came upon it: what was prepared has to be compared with what is there.
            raise Duplicate(f"Message {known} is there already.")
        return await with_deliveries(self._session, self._statements, found, ahead=1)

    async def _stretch(self, kind: DueKind, lane: int, after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
        """The next `limit` due times of a lane at most, with whose they are."""
        values = (int(kind), lane, *after, limit)
        found = list(await self._session.rows(self._statements.due_messages, *values))
        if kind is not DueKind.CHECK:
            apart = await self._session.rows(self._statements.due_deliveries, *values)
            if apart:
                found += apart
        return sorted((at, message_id) for message_id, at in found)[:limit]


async def with_deliveries(
    session: Session, statements: Statements, found: Sequence[Row], *, ahead: int
) -> list[Message]:
    """The messages of rows, with the deliveries of those that have several."""
    apart: dict[str, list[Delivery]] = {}
    several = [row[0] for row in found if rows.has_deliveries_apart(row)]
    if several:
        for row in await session.rows(statements.deliveries, several):
            apart.setdefault(row[0], []).append(rows.delivery(row))
    return [rows.message(row, apart.get(row[0], ()), ahead=ahead) for row in found]


def tally_rows(stripe: int, changes: Mapping[columns.Tallied, int]) -> list[tuple[object, ...]]:
    """The values of `statements.TALLY`, in the order of their keys: nobody waits for a smaller one."""
    return sorted((stripe, app, topic or 0, str(status), n) for (app, topic, status), n in changes.items())


def _is_due(message: Message, kind: DueKind, lane: int, now: int) -> bool:
    """Asked again under the lock: somebody else may have been quicker."""
    at = due_at(message, kind, lane)
    return at is not None and at <= now


def _pieces(contents: Mapping[str, Content]) -> list[list[tuple[object, ...]]]:
    """The rows of contents, in pieces that are no burden as one statement; the last may be empty."""
    pieces: list[list[tuple[object, ...]]] = [[]]
    size = 0
    for message_id in sorted(contents):
        pieces[-1].append(rows.content_values(message_id, contents[message_id]))
        size += len(contents[message_id].payload)
        if size > _PIECE_BYTES:
            pieces.append([])
            size = 0
    return pieces
