"""One write in progress: work folded over the states of messages in memory, then written at once.

Every state that the work names is read before by one statement, and every state that changed is written after by one
or few. A message is held with the version that its next write gives it, so that nothing but an answer that changes
nothing has to be touched up.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain import confirmation
from aftercommit.domain.advance import advance
from aftercommit.domain.errors import Inconsistency
from aftercommit.domain.lifecycle import LIVE, Refusal
from aftercommit.domain.message import Claimed, Content, Message, Outcome, Taken, TimelineEvent
from aftercommit.domain.step import Context, Step, absent, refused, unchanged
from aftercommit.ports.store import Result
from aftercommit.stores.sqlite import due, rows, schema

_CLAIMS: Final = frozenset(c.Claim.__args__)
_WITH_CONTENT: Final = frozenset({c.ClaimChecks, c.ClaimPulls})

_REPLAYS: Final = f"""
    SELECT json_group_array(m.id) FROM json_each(?) AS original
    CROSS JOIN message AS m ON m.replay_of = original.value AND m.status {schema.IN_LIVE}"""
_COPY_CONTENTS: Final = """
    INSERT INTO content (id, content_type, form, "key", headers, check_hint, traceparent, fingerprint, payload)
    SELECT json_extract(value, '$[0]'),
        content_type, form, c."key", headers, check_hint, traceparent, fingerprint, payload
    FROM json_each(?) CROSS JOIN content AS c ON c.id = json_extract(value, '$[1]')"""


class _Claim(NamedTuple):
    """A claim that was folded; the content of what was taken is still to be fetched."""

    taken: list[Message]
    with_content: bool
    seen: int
    parked: int
    next_at: int | None


class Fold:
    """`run` does all there is to do; or `load`, `apply` and `write` one after the other. All in one transaction."""

    def __init__(self, connection: sqlite3.Connection, context: Context) -> None:
        self._connection = connection
        self._context = context
        self._stored: dict[str, Message] = {}
        self._present: dict[str, Message] = {}
        self._changed: dict[str, Message] = {}
        self._contents: dict[str, Content] = {}
        self._copies: dict[str, str] = {}
        self._replays: dict[str, list[str]] = {}
        self._events: list[TimelineEvent] = []

    def run(self, work: Sequence[c.Work]) -> list[Result]:
        """Do all of `work` in order, and write it."""
        self.load(_ids(work))
        self._load_replays(work)
        fingerprints = self._fingerprints(work)
        results: list[Outcome | _Claim] = []
        for each in work:
            if isinstance(each, c.Prepare):
                results.append(self._prepare(each, fingerprints))
            elif type(each) in _CLAIMS:
                results.append(self._claim(each))  # type: ignore[arg-type]  # the line above is quicker than isinstance
            else:
                results.append(self.apply(each))  # type: ignore[arg-type]
        self.write()
        return self._answers(results)

    def load(self, ids: Iterable[str]) -> None:
        """Read the states of the ids that are not known yet."""
        wanted = [each for each in ids if each not in self._present]
        if wanted:
            self.keep(rows.next_states(self._connection, wanted))

    def keep(self, loaded: Iterable[Message]) -> None:
        """Take in states as they were read, unless they are known already."""
        for each in loaded:
            if each.id not in self._present:
                self._present[each.id] = self._stored[each.id] = each

    def apply(self, command: c.Command) -> Outcome:
        """One command."""
        message = self._present.get(command.id)
        if message is None:
            if isinstance(command, c.Cancel) and command.tombstone:
                return self._create(confirmation.tombstone(command, self._context.now))
            return absent(command.id).outcome
        return self._take_in(advance(command, message, self._context), message)

    def write(self) -> None:
        """Write what changed. Raises `Inconsistency` where a row is not as it was loaded."""
        if self._changed:
            rows.put_messages(self._connection, self._changed, self._stored)
            rows.put_contents(self._connection, self._contents)
            self._copy_contents()
        rows.put_events(self._connection, self._events)

    def _prepare(self, prepare: c.Prepare, fingerprints: dict[str, bytes]) -> Outcome:
        message_id = prepare.message.id
        present = self._present.get(message_id)
        if present is None:
            homeless = confirmation.homeless(prepare, self._context)
            if homeless is not None:
                return homeless
            self._contents[message_id] = prepare.content
            return self._create(confirmation.first_state(prepare, self._context))
        new = self._contents.get(message_id)
        fingerprint = new.fingerprint if new is not None else fingerprints.get(message_id)
        return self._unchanged(confirmation.repeated(prepare, present, fingerprint))

    def _create(self, message: Message) -> Outcome:
        created = message if message.version == 1 else replace(message, version=1)
        self._present[created.id] = self._changed[created.id] = created
        return Outcome(id=created.id, status=created.status, changed=True, created=True, message=created)

    def _take_in(self, step: Step, message: Message) -> Outcome:
        if step.replay is not None:
            return self._replay(step, step.replay, message)
        if step.message is None:
            return self._unchanged(step.outcome)
        self._present[message.id] = self._changed[message.id] = step.message
        self._events += step.events
        return step.outcome

    def _unchanged(self, outcome: Outcome) -> Outcome:
        message = outcome.message
        if message is None or message.id in self._changed:
            return outcome
        return replace(outcome, message=replace(message, version=message.version - 1))

    def _replay(self, step: Step, replay: Message, original: Message) -> Outcome:
        replays = self._replays.setdefault(original.id, [])
        for each in map(self._present.__getitem__, replays):
            if each.status in LIVE and _for_the_same(each, replay):
                return self._unchanged(unchanged(each).outcome)
        if replay.id in self._present:
            detail = f"Message {replay.id} exists already: make the replay of {original.id} under another id."
            return self._unchanged(refused(original, Refusal.ID_CONFLICT, detail).outcome)
        replays.append(replay.id)
        self._copies[replay.id] = self._copies.get(original.id, original.id)
        self._events += step.events
        return replace(step.outcome, message=self._create(replay).message)

    def _claim(self, claim: c.Claim) -> _Claim:
        taken, passed, parked = [], [], 0
        due_now, left_over = self._due(claim)
        for each in due_now:
            step = advance(claim.take(each), each, self._context)
            self._take_in(step, each)
            if step.message is None:
                passed.append(each)
            elif step.taken:
                taken.append(step.message)
            else:
                parked += 1
        times = (due.due_at(each, claim.kind, claim.lane) for each in (*passed, *self._changed.values()))
        next_at = due.earliest((left_over, *times))
        return _Claim(taken, type(claim) in _WITH_CONTENT, len(due_now), parked, next_at)

    def _due(self, claim: c.Claim) -> due.Due:
        """What a claim has to look at. What this write has changed counts as it stands now, not as it is stored."""
        now, kind, lane = self._context.now, claim.kind, claim.lane
        stored = due.due_messages(self._connection, kind, lane, now, limit=claim.limit, without=self._changed)
        self.keep(stored.messages)
        changed = [
            each for each in self._changed.values() if (at := due.due_at(each, kind, lane)) is not None and at <= now
        ]
        if not changed:
            return stored
        return due.longest_due([*stored.messages, *changed], kind, lane, claim.limit, stored.next_at)

    def _answers(self, results: list[Outcome | _Claim]) -> list[Result]:
        claims = [each for each in results if isinstance(each, _Claim)]
        if not claims:
            return results  # type: ignore[return-value]  # nothing but outcomes is left
        carried = self._carried(each.id for claim in claims if claim.with_content for each in claim.taken)
        return [_claimed(each, carried) if isinstance(each, _Claim) else each for each in results]

    def _carried(self, ids: Iterable[str]) -> dict[str, Content]:
        wanted = list(ids)
        if not wanted:
            return {}
        new = {each: self._contents[each] for each in wanted if each in self._contents}
        stored = rows.contents(self._connection, [each for each in wanted if each not in new])
        return new | stored

    def _fingerprints(self, work: Sequence[c.Work]) -> dict[str, bytes]:
        again = [each.message.id for each in work if isinstance(each, c.Prepare) and each.message.id in self._present]
        return rows.fingerprints(self._connection, again) if again else {}

    def _load_replays(self, work: Sequence[c.Work]) -> None:
        originals = [each.id for each in work if isinstance(each, c.Redeliver)]
        if not originals:
            return
        [found] = self._connection.execute(_REPLAYS, (rows.ids_json(originals),)).fetchone()
        ids = rows.decode_ids(found)
        self.load(ids)
        for each in map(self._present.__getitem__, ids):
            if each.replay_of is not None:
                self._replays.setdefault(each.replay_of, []).append(each.id)

    def _copy_contents(self) -> None:
        if not self._copies:
            return
        pairs = rows.encode(list(self._copies.items())).decode()
        copied = self._connection.execute(_COPY_CONTENTS, (pairs,)).rowcount
        if copied != len(self._copies):
            raise Inconsistency(f"{len(self._copies) - copied} messages to send again have no content to copy.")


def _ids(work: Sequence[c.Work]) -> Iterator[str]:
    yield from dict.fromkeys(_named(work))


def _named(work: Sequence[c.Work]) -> Iterator[str]:
    for each in work:
        if isinstance(each, c.Prepare):
            yield each.message.id
        elif type(each) not in _CLAIMS:
            yield each.id  # type: ignore[union-attr]  # all but claims name a message
            if isinstance(each, c.Redeliver):
                yield each.replay_id


def _claimed(claim: _Claim, carried: dict[str, Content]) -> Claimed:
    content = carried if claim.with_content else {}
    taken = tuple(Taken(message=each, content=content.get(each.id)) for each in claim.taken)
    return Claimed(taken=taken, seen=claim.seen, parked=claim.parked, next_at=claim.next_at)


def _for_the_same(present: Message, replay: Message) -> bool:
    return {each.subscription for each in present.deliveries} == {each.subscription for each in replay.deliveries}
