"""One write to the memory store: work applied to the rows step by step, and taken back if a step fails."""

from collections.abc import Iterable, Iterator
from itertools import islice

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain import confirmation, operation
from aftercommit.domain.advance import advance
from aftercommit.domain.errors import Conflict
from aftercommit.domain.lifecycle import LIVE, OPEN_DELIVERY, TERMINAL, Refusal
from aftercommit.domain.message import Claimed, Content, DueKind, Message, Outcome, Taken, TimelineEvent
from aftercommit.domain.step import Context, Step, absent, refused, unchanged
from aftercommit.ports import broker
from aftercommit.ports.store import Dispatch, DueLane, Result


class Rows:
    """What is kept, with an index of what is due. Changed only by `put` and `remove`."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.contents: dict[str, Content] = {}
        self.events: dict[str, tuple[TimelineEvent, ...]] = {}
        self._due: dict[tuple[DueKind, int], dict[str, int]] = {}

    def put(self, message: Message, content: Content | None = None) -> None:
        self._forget_dues(message.id)
        self.messages[message.id] = message
        if content is not None:
            self.contents[message.id] = content
        for lane, at in _dues(message):
            waiting = self._due.setdefault(lane, {})
            waiting[message.id] = min(at, waiting.get(message.id, at))

    def remove(self, message_id: str) -> None:
        self._forget_dues(message_id)
        del self.messages[message_id]
        self.contents.pop(message_id, None)
        self.events.pop(message_id, None)

    def due(self, kind: DueKind, lane: int, now: int) -> list[tuple[int, str]]:
        """What is due in a lane with its time; the longest due first, then by id."""
        waiting = self._due.get((kind, lane), {})
        return sorted((at, each) for each, at in waiting.items() if at <= now)

    def next_at(self, kind: DueKind, lane: int) -> int | None:
        return min(self._due.get((kind, lane), {}).values(), default=None)

    def lanes(self, kind: DueKind) -> list[DueLane]:
        return [
            DueLane(kind=kind, lane=lane, at=min(waiting.values()))
            for (each, lane), waiting in self._due.items()
            if each is kind
        ]

    def _forget_dues(self, message_id: str) -> None:
        known = self.messages.get(message_id)
        for lane, _at in _dues(known) if known else ():
            waiting = self._due.get(lane, {})
            waiting.pop(message_id, None)
            if not waiting:
                self._due.pop(lane, None)


class Writing:
    """One write in progress: applies work to the rows, and can take all of it back."""

    def __init__(self, rows: Rows, context: Context) -> None:
        self._rows = rows
        self._context = context
        self._before: dict[str, tuple[Message | None, tuple[TimelineEvent, ...]]] = {}

    def do(self, work: c.Work) -> Result:
        if isinstance(work, c.Prepare):
            return self._prepare(work)
        if isinstance(work, c.Claim):
            return self._claim(work)
        return self._command(work)

    def undo(self) -> None:
        for message_id, (message, events) in self._before.items():
            if message is not None:
                self._rows.put(message)
                self._rows.events[message_id] = events
            elif message_id in self._rows.messages:
                self._rows.remove(message_id)

    def take_to_publish(self, dispatch: Dispatch, held: set[str]) -> tuple[list[Taken], int]:
        """What to publish now, and how much was parked instead because its budget is used up."""
        due = (each for _at, each in self._rows.due(dispatch.kind, dispatch.lane, self._context.now))
        free = (each for each in due if each not in held and (dispatch.ids is None or each in dispatch.ids))
        taken, parked = [], 0
        for message_id in islice(free, dispatch.limit):
            message = self._rows.messages[message_id]
            if dispatch.kind is DueKind.REDELIVER and self._is_used_up(message, dispatch.lane):
                self._command(c.Redelivered(id=message_id, subscription=dispatch.lane))
                parked += 1
            else:
                taken.append(self._taken(message))
        return taken, parked

    def apply_answer(self, dispatch: Dispatch, message_id: str, answer: broker.Answer) -> None:
        lane = dispatch.lane if dispatch.kind is DueKind.REDELIVER else None
        match answer:
            case broker.Accepted() if lane is not None:
                self._command(c.Redelivered(id=message_id, subscription=lane))
            case broker.Accepted():
                self._command(c.Accepted(id=message_id, pullable=False))
            case broker.Refused(reason, final):
                self._command(c.BrokerRefused(id=message_id, reason=reason, final=final, subscription=lane))
            case broker.Unavailable():
                return

    def require_settled(self, topic: int) -> None:
        for each in self._rows.messages.values():
            if each.topic == topic and each.status not in TERMINAL:
                name = self._context.catalog.topics[topic].name
                raise Conflict("topic_in_use", f"Topic {name!r} still has messages that are not settled.")

    def close_deliveries(self, subscription: int, *, force: bool) -> None:
        """Discard the open deliveries of a dropped subscription, or refuse where there are any."""
        held = [each.id for each in self._rows.messages.values() if _has_open_delivery(each, subscription)]
        if held and not force:
            name = self._context.catalog.subscriptions[subscription].name
            raise Conflict("subscription_in_use", f"Subscription {name!r} still has {len(held)} open deliveries.")
        for each in held:
            self._command(operation.dropped(each, subscription))

    def _prepare(self, prepare: c.Prepare) -> Outcome:
        present = self._rows.messages.get(prepare.id)
        if present is not None:
            content = self._rows.contents.get(prepare.id)
            return confirmation.repeated(prepare, present, content.fingerprint if content else None)
        homeless = confirmation.homeless(prepare, self._context)
        if homeless is not None:
            return homeless
        return self._create(confirmation.first_state(prepare, self._context), prepare.content)

    def _command(self, command: c.Command) -> Outcome:
        message = self._rows.messages.get(command.id)
        if message is None:
            if isinstance(command, c.Cancel) and command.tombstone:
                return self._create(confirmation.tombstone(command, self._context.now))
            return absent(command.id).outcome
        return self._keep(advance(command, message, self._context), message)

    def _keep(self, step: Step, message: Message) -> Outcome:
        if step.replay is not None:
            return self._replay(step, step.replay, message)
        if step.message is None:
            return step.outcome
        self._remember(message.id)
        loaded, _events = self._before[message.id]
        kept = replace(step.message, version=loaded.version + 1 if loaded else 1)
        self._rows.put(kept)
        self._tell(step.events)
        return replace(step.outcome, message=kept)

    def _replay(self, step: Step, replay: Message, original: Message) -> Outcome:
        living = next((each for each in self._rows.messages.values() if _is_same_replay(each, replay)), None)
        if living is not None:
            return unchanged(living).outcome
        if replay.id in self._rows.messages:
            detail = f"Message {replay.id} exists already: make the replay of {original.id} under another id."
            return refused(original, Refusal.ID_CONFLICT, detail).outcome
        created = self._create(replay, self._rows.contents[original.id])
        self._remember(original.id)
        self._tell(step.events)
        return replace(step.outcome, message=created.message)

    def _create(self, message: Message, content: Content | None = None) -> Outcome:
        self._remember(message.id)
        created = replace(message, version=1)
        self._rows.put(created, content)
        return Outcome(id=created.id, status=created.status, changed=True, created=True, message=created)

    def _tell(self, events: Iterable[TimelineEvent]) -> None:
        for each in events:
            self._rows.events[each.message_id] = (*self._rows.events.get(each.message_id, ()), each)

    def _remember(self, message_id: str) -> None:
        if message_id not in self._before:
            events = self._rows.events.get(message_id, ())
            self._before[message_id] = (self._rows.messages.get(message_id), events)

    def _claim(self, claim: c.Claim) -> Claimed:
        due = self._rows.due(claim.kind, claim.lane, self._context.now)[: claim.limit]
        taken, parked = [], 0
        for _at, message_id in due:
            message = self._rows.messages[message_id]
            step = advance(claim.take(message), message, self._context)
            self._keep(step, message)
            if step.message is not None and step.taken:
                taken.append(self._taken(self._rows.messages[message_id]))
            elif step.message is not None:
                parked += 1
        next_at = self._rows.next_at(claim.kind, claim.lane)
        return Claimed(taken=tuple(taken), seen=len(due), parked=parked, next_at=next_at)

    def _taken(self, message: Message) -> Taken:
        return Taken(message=message, content=self._rows.contents[message.id])

    def _is_used_up(self, message: Message, subscription: int) -> bool:
        return not advance(c.Redelivered(id=message.id, subscription=subscription), message, self._context).taken


def _dues(message: Message) -> Iterator[tuple[tuple[DueKind, int], int]]:
    for due in (message.due, *(each.due for each in message.deliveries)):
        if due is not None:
            yield (due.kind, due.lane), due.at


def _has_open_delivery(message: Message, subscription: int) -> bool:
    return any(each.subscription == subscription and each.status in OPEN_DELIVERY for each in message.deliveries)


def _is_same_replay(message: Message, replay: Message) -> bool:
    return (
        message.replay_of == replay.replay_of
        and message.status in LIVE
        and {each.subscription for each in message.deliveries} == {each.subscription for each in replay.deliveries}
    )
