"""One write in progress: work folded over the states of messages in memory, then written at once.

The fold reads and writes nothing itself. It asks (`Question`) whoever drives it, in whatever way that one reads, and
tells in the end what changed. A message is held with the version that its next write gives it, so that nothing but an
answer that changes nothing has to be touched up: whoever loads states gives each the version it has plus one.
"""

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain import confirmation
from aftercommit.domain.advance import advance
from aftercommit.domain.lifecycle import LIVE, Refusal, Status
from aftercommit.domain.message import Claimed, Content, DueKind, Message, Outcome, Taken, TimelineEvent
from aftercommit.domain.step import Context, Step, absent, refused, unchanged
from aftercommit.ports.store import Busy, Result
from aftercommit.stores.due import Due, due_at, earliest, longest_due

T = TypeVar("T")

_CLAIMS: Final = frozenset(c.Claim.__args__)
_WITH_CONTENT: Final = frozenset({c.ClaimChecks, c.ClaimPulls})


class States(NamedTuple):
    """Which of these messages exist, and how? Answer: a list of `Message`.

    `prepared`: those that are there only if somebody repeats a prepare.
    """

    ids: Sequence[str]
    prepared: Collection[str]


class DueNow(NamedTuple):
    """What is due in this lane, as if the messages of `without` were not there? Answer: a `Due`."""

    kind: DueKind
    lane: int
    limit: int
    without: Collection[str]


class Fingerprints(NamedTuple):
    """The digests of what these messages carry? Answer: a mapping by id."""

    ids: Sequence[str]


class Contents(NamedTuple):
    """What do these messages carry? Answer: a mapping by id."""

    ids: Sequence[str]


class Replays(NamedTuple):
    """Which live messages are replays of these? Answer: a list of ids."""

    originals: Sequence[str]


Question: TypeAlias = States | DueNow | Fingerprints | Contents | Replays
Folding: TypeAlias = Generator[Question, Any, T]


class Changes(NamedTuple):
    """What a fold wants written: states over those that were loaded, new contents, contents to copy, lines to add.

    `copies` maps the id of a replay to that of the message whose content it gets.
    """

    changed: Mapping[str, Message]
    stored: Mapping[str, Message]
    contents: Mapping[str, Content]
    copies: Mapping[str, str]
    events: Sequence[TimelineEvent]


class _Claim(NamedTuple):
    """A claim that was folded; the content of what was taken is still to be fetched."""

    taken: list[Message]
    with_content: bool
    seen: int
    parked: int
    next_at: int | None


def answered(folding: Folding[T], answer: Callable[[Question], Any]) -> T:
    """What a fold comes to, with every question answered by `answer`."""
    try:
        question = next(folding)
        while True:
            question = folding.send(answer(question))
    except StopIteration as end:
        result: T = end.value
        return result


async def answered_later(folding: Folding[T], answer: Callable[[Question], Awaitable[Any]]) -> T:
    """`answered`, where answers have to be waited for."""
    try:
        question = next(folding)
        while True:
            question = folding.send(await answer(question))
    except StopIteration as end:
        result: T = end.value
        return result


class Fold:
    """`run` does all there is to do; or `load` and `apply` one after the other. `changes` is what to write then.

    `busy` holds messages that somebody else has locked, with their last known status; whoever loads states fills it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stored: dict[str, Message] = {}
        self._present: dict[str, Message] = {}
        self._changed: dict[str, Message] = {}
        self._contents: dict[str, Content] = {}
        self._copies: dict[str, str] = {}
        self._replays: dict[str, list[str]] = {}
        self._events: list[TimelineEvent] = []
        self.busy: dict[str, Status] = {}

    @property
    def changes(self) -> Changes:
        """What is to be written."""
        return Changes(self._changed, self._stored, self._contents, self._copies, self._events)

    def run(self, work: Sequence[c.Work]) -> Folding[list[Result]]:
        """Do all of `work` in order."""
        ids, prepared = _named(work)
        yield from self.load(ids, prepared)
        yield from self._load_replays(work)
        fingerprints = yield from self._fingerprints(work)
        results: list[Outcome | _Claim | Busy] = []
        for each in work:
            if type(each) in _CLAIMS:
                results.append((yield from self._claim(each)))  # type: ignore[arg-type]  # quicker than isinstance
            elif self.busy and (busy := self._busy(each)) is not None:
                results.append(busy)
            elif isinstance(each, c.Prepare):
                results.append(self._prepare(each, fingerprints))
            else:
                results.append(self.apply(each))  # type: ignore[arg-type]
        return (yield from self._answers(results))

    def load(self, ids: Iterable[str], prepared: Collection[str] = ()) -> Folding[None]:
        """Ask for the states of the ids that are not known yet."""
        wanted = [each for each in ids if each not in self._present]
        if wanted:
            self.keep((yield States(wanted, prepared)))

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

    def would_take(self, command: c.Command) -> bool:
        """Whether a command on a loaded message would be done, and not park it; nothing is changed."""
        return advance(command, self._present[command.id], self._context).taken

    def _busy(self, work: c.Prepare | c.Command | c.Claim) -> Busy | None:
        names: list[str] = [work.id]  # type: ignore[union-attr]  # claims name none and do not come here
        if isinstance(work, c.Redeliver):
            names.append(work.replay_id)
            names += self._replays.get(work.id, ())
        held = next((each for each in names if each in self.busy), None)
        return None if held is None else Busy(id=names[0], status=self.busy[held])

    def _prepare(self, prepare: c.Prepare, fingerprints: Mapping[str, bytes]) -> Outcome:
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

    def _claim(self, claim: c.Claim) -> Folding[_Claim]:
        taken, passed, parked = [], [], 0
        due_now, left_over = yield from self._due(claim)
        for each in due_now:
            step = advance(claim.take(each), each, self._context)
            self._take_in(step, each)
            if step.message is None:
                passed.append(each)
            elif step.taken:
                taken.append(step.message)
            else:
                parked += 1
        times = (due_at(each, claim.kind, claim.lane) for each in (*passed, *self._changed.values()))
        next_at = earliest((left_over, *times))
        return _Claim(taken, type(claim) in _WITH_CONTENT, len(due_now), parked, next_at)

    def _due(self, claim: c.Claim) -> Folding[Due]:
        """What a claim has to look at. What this write has changed counts as it stands now, not as it is stored."""
        now, kind, lane = self._context.now, claim.kind, claim.lane
        stored: Due = yield DueNow(kind, lane, claim.limit, self._changed)
        self.keep(stored.messages)
        changed = [
            each for each in self._changed.values() if (at := due_at(each, kind, lane)) is not None and at <= now
        ]
        if not changed:
            return stored
        return longest_due([*stored.messages, *changed], kind, lane, claim.limit, stored.next_at)

    def _answers(self, results: list[Outcome | _Claim | Busy]) -> Folding[list[Result]]:
        claims = [each for each in results if isinstance(each, _Claim)]
        if not claims:
            return results  # type: ignore[return-value]  # nothing but outcomes is left
        carried = yield from self._carried(each.id for claim in claims if claim.with_content for each in claim.taken)
        return [_claimed(each, carried) if isinstance(each, _Claim) else each for each in results]

    def _carried(self, ids: Iterable[str]) -> Folding[dict[str, Content]]:
        # A copy is not written yet: it carries what its original does.
        sources = {each: self._copies.get(each, each) for each in ids}
        stored = list(dict.fromkeys(each for each in sources.values() if each not in self._contents))
        found: Mapping[str, Content] = (yield Contents(stored)) if stored else {}
        return {each: self._contents.get(source) or found[source] for each, source in sources.items()}

    def _fingerprints(self, work: Sequence[c.Work]) -> Folding[Mapping[str, bytes]]:
        again = [each.message.id for each in work if isinstance(each, c.Prepare) and each.message.id in self._present]
        if not again:
            return {}
        found: Mapping[str, bytes] = yield Fingerprints(again)
        return found

    def _load_replays(self, work: Sequence[c.Work]) -> Folding[None]:
        originals = [each.id for each in work if isinstance(each, c.Redeliver)]
        if not originals:
            return
        ids: list[str] = yield Replays(originals)
        yield from self.load(ids)
        for each in ids:
            if each in self.busy:
                # Whose replay it is cannot be told: nobody's redelivery is decided while it is held.
                for original in originals:
                    self._replays.setdefault(original, []).append(each)
            elif (known := self._present.get(each)) is not None and known.replay_of is not None:
                self._replays.setdefault(known.replay_of, []).append(each)


def _named(work: Sequence[c.Work]) -> tuple[list[str], set[str]]:
    """The messages that work is about, and those of them that are only prepared."""
    names: dict[str, bool] = {}
    for each in work:
        if isinstance(each, c.Prepare):
            names.setdefault(each.message.id, True)
        elif type(each) not in _CLAIMS:
            names[each.id] = False  # type: ignore[union-attr]  # all but claims name a message
            if isinstance(each, c.Redeliver):
                names[each.replay_id] = False
    return list(names), {each for each, prepared in names.items() if prepared}


def _claimed(claim: _Claim, carried: Mapping[str, Content]) -> Claimed:
    content = carried if claim.with_content else {}
    taken = tuple(Taken(message=each, content=content.get(each.id)) for each in claim.taken)
    return Claimed(taken=taken, seen=claim.seen, parked=claim.parked, next_at=claim.next_at)


def _for_the_same(present: Message, replay: Message) -> bool:
    return {each.subscription for each in present.deliveries} == {each.subscription for each in replay.deliveries}
