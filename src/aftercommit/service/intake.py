"""What initiators say: prepare, confirm, cancel."""

from collections.abc import Callable, Iterable, Sequence

from aftercommit.domain.commands import Cancel, Confirm, Prepare
from aftercommit.domain.errors import CallerError
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import DueKind, Message, Outcome
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Reader
from aftercommit.service.caller import Caller
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.reception import read_prepare, require_id
from aftercommit.service.words import in_range, plain_text, uuid7_time
from aftercommit.wire import CancelItem, PrepareRequest

# Called with the topic and the due time of messages that became pending_send.
Wake = Callable[[int, int], None]
# Called with the subscriptions of deliveries that became pullable.
Announce = Callable[[Iterable[int]], None]


class Intake:
    """The initiator's door."""

    def __init__(
        self,
        gatherer: Gatherer,
        reader: Reader,
        directory: Directory,
        *,
        clock: Clock,
        observer: Observer,
        chance: Callable[[], float],
        new_id: Callable[[], str],
        wake: Wake,
        announce: Announce | None,
    ) -> None:
        self._gatherer = gatherer
        self._reader = reader
        self._directory = directory
        self._clock = clock
        self._observer = observer
        self._chance = chance
        self._new_id = new_id
        self._wake = wake
        # None: an outside broker, which the dispatcher publishes to.
        self._announce = announce

    async def prepare(self, caller: Caller, request: PrepareRequest, traceparent: str | None) -> Outcome:
        """Store one message. Durable when it returns; repeating it with the same id and content is safe."""
        work = await self._read(caller, request, traceparent, self._directory.freshness.mark)
        outcome = (await self._gatherer.prepare((work,)))[0]
        self._told("prepared", (outcome,))
        return outcome

    async def prepare_many(
        self, caller: Caller, requests: Sequence[PrepareRequest], traceparent: str | None
    ) -> list[Outcome | CallerError]:
        """Store many; what is wrong with one is its own answer."""
        read: list[Prepare | CallerError] = []
        came = self._directory.freshness.mark
        for request in requests:
            try:
                read.append(await self._read(caller, request, traceparent, came))
            except CallerError as error:
                read.append(error)
        outcomes = iter(await self._gatherer.prepare([each for each in read if isinstance(each, Prepare)]))
        answers = [each if isinstance(each, CallerError) else next(outcomes) for each in read]
        self._told("prepared", [each for each in answers if isinstance(each, Outcome)])
        return answers

    async def confirm(self, caller: Caller, message_id: str) -> Outcome:
        """The local transaction committed."""
        return (await self.confirm_many(caller, (message_id,)))[0]

    async def confirm_many(self, caller: Caller, ids: Sequence[str]) -> list[Outcome]:
        """Confirm many, each on its own."""
        app, pullable = await self._directory.find_app_id(caller), self._announce is not None
        work = [Confirm(id=each, app=app, actor=caller.app, pullable=pullable) for each in ids]
        outcomes = await self._gatherer.apply(work)
        self._told("confirmed", outcomes)
        return outcomes

    async def cancel(self, caller: Caller, message_id: str, reason: str | None) -> Outcome:
        """The local transaction rolled back."""
        return (await self.cancel_many(caller, (CancelItem(id=message_id, reason=reason),)))[0]

    async def cancel_many(self, caller: Caller, items: Sequence[CancelItem]) -> list[Outcome]:
        """Cancel many, each on its own. An unknown id becomes a tombstone, so that its late prepare is refused."""
        app = await self._directory.ensure_app(caller.app)
        now = self._clock.now()
        work = [
            Cancel(
                id=each.id,
                app=app.id,
                actor=caller.app,
                reason=plain_text(each.reason) if each.reason is not None else None,
                tombstone=_may_bury(each.id, now),
            )
            for each in items
        ]
        outcomes = await self._gatherer.apply(work)
        self._told("cancelled", outcomes)
        return outcomes

    async def statuses(self, caller: Caller, ids: Sequence[str]) -> list[Outcome]:
        """The present status of each id the caller may see."""
        found = await self._reader.find(ids)
        await self._directory.know_of(found.values())
        await self._directory.find_app_id(caller)
        return [
            Outcome(id=each, status=found[each].status)
            if each in found and self._directory.may_see(caller, found[each])
            else Outcome(id=each, refusal=Refusal.UNKNOWN_MESSAGE, detail=f"There is no message {each}.")
            for each in ids
        ]

    async def _read(self, caller: Caller, request: PrepareRequest, traceparent: str | None, came: int) -> Prepare:
        now = self._clock.now()
        if request.id is not None:
            require_id(request.id, now)
        app = await self._directory.ensure_app(caller.app, came)
        topic = await self._directory.ensure_topic(request.topic, app, came)
        return read_prepare(
            request,
            message_id=request.id or self._new_id(),
            app=app.id,
            topic=topic.id,
            policy=self._directory.catalog.policy(topic.id),
            now=now,
            chance=self._chance(),
            traceparent=traceparent,
        )

    def _told(self, event: str, outcomes: Sequence[Outcome]) -> None:
        changed, sent = 0, list[Message]()
        for outcome in outcomes:
            message = outcome.message
            if outcome.changed:
                changed += 1
                if message is None or message.status is Status.PENDING_CONFIRMATION:
                    continue
                if message.due is not None and message.due.kind is DueKind.SEND:
                    self._wake(message.due.lane, message.due.at)
                elif message.status is Status.SENT:
                    sent.append(message)
            elif outcome.refusal is not None:
                self._refused(event, outcome)
        if changed:
            self._observer.count("events", changed, event=event)
        if sent and self._announce is not None:
            self._observer.count("events", len(sent), event=Status.SENT)
            self._announce(each.subscription for message in sent for each in message.deliveries)

    def _refused(self, event: str, outcome: Outcome) -> None:
        self._observer.count("refusals", 1, code=str(outcome.refusal))
        if event == "prepared" or outcome.refusal in (Refusal.UNKNOWN_MESSAGE, Refusal.BUSY):
            return
        # The initiator says one thing and the record says the other: with the barrier this never happens.
        self._observer.count("contradictions")
        message = outcome.message
        if message is not None and message.resolved_by is not None:
            detail = f"Message {outcome.id} was resolved by {message.resolved_by}; its initiator now disagrees."
            self._observer.alert("resolution_contradicted", detail)


def _may_bury(message_id: str, now: int) -> bool:
    made_at = uuid7_time(message_id)
    return made_at is not None and in_range(made_at, now)
