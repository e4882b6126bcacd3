"""Single actions of an operator on one message."""

from collections.abc import Callable

from aftercommit.domain.commands import CheckOutcome, Discard, Recheck, Redeliver, Resolve
from aftercommit.domain.errors import Invalid
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import DueKind, Outcome, Taken
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Reader
from aftercommit.service.caller import Caller
from aftercommit.service.checking import Checking
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.words import plain_text
from aftercommit.wire import RedeliverRequest, ResolveRequest


class Operation:
    """The operator's door. Every action is written to the message's history with who and why."""

    def __init__(
        self,
        gatherer: Gatherer,
        reader: Reader,
        directory: Directory,
        checking: Checking,
        *,
        observer: Observer,
        new_id: Callable[[], str],
        wake: Callable[[int, int], None],
        announce: Callable[[int], None],
    ) -> None:
        self._gatherer = gatherer
        self._reader = reader
        self._directory = directory
        self._checking = checking
        self._observer = observer
        self._new_id = new_id
        self._wake = wake
        self._announce = announce

    async def resolve(self, caller: Caller, message_id: str, request: ResolveRequest) -> Outcome:
        """Decide an undecided message. The initiator is asked once more; what it says definitively wins."""
        if request.outcome not in (CheckOutcome.COMMITTED, CheckOutcome.ROLLED_BACK):
            raise Invalid("invalid_outcome", "outcome must be committed or rolled_back.", "/outcome")
        reason = _reason(request.reason)
        scope = await self._directory.operator_scope(caller)
        evidence = await self._evidence(message_id, scope)
        if evidence is not None:
            return evidence
        command = Resolve(
            id=message_id,
            app=scope,
            actor=caller.app,
            committed=request.outcome == CheckOutcome.COMMITTED,
            reason=reason,
        )
        return self._told("resolved", (await self._gatherer.apply((command,)))[0])

    async def recheck(self, caller: Caller, message_id: str) -> Outcome:
        """Have the initiator asked now instead of when its turn comes."""
        command = Recheck(id=message_id, app=await self._directory.operator_scope(caller), actor=caller.app)
        return self._told("recheck_requested", (await self._gatherer.apply((command,)))[0])

    async def redeliver(self, caller: Caller, message_id: str, request: RedeliverRequest) -> Outcome:
        """Deliver again: with fresh budgets, at once, or, once settled, as a new message linked to this one."""
        command = Redeliver(
            id=message_id,
            app=await self._directory.operator_scope(caller),
            actor=caller.app,
            replay_id=self._new_id(),
            subscriptions=tuple(request.subscriptions) if request.subscriptions is not None else None,
            reason=plain_text(request.reason) if request.reason else None,
        )
        outcome = (await self._gatherer.apply((command,)))[0]
        return self._told("replayed" if outcome.created else "redelivered", outcome)

    async def discard(self, caller: Caller, message_id: str, reason: str) -> Outcome:
        """Give a message's open deliveries up."""
        scope = await self._directory.operator_scope(caller)
        command = Discard(id=message_id, app=scope, actor=caller.app, reason=_reason(reason))
        return self._told("discarded", (await self._gatherer.apply((command,)))[0])

    async def _evidence(self, message_id: str, scope: int | None) -> Outcome | None:
        stored = await self._reader.get(message_id)
        if stored is None or stored.message.status is not Status.UNDECIDED or scope not in (None, stored.message.app):
            return None
        await self._directory.know_of((stored.message,))
        verdict = await self._checking.ask_now(stored.message, Taken(message=stored.message, content=stored.content))
        if verdict is None or verdict.outcome is CheckOutcome.UNKNOWN:
            return None
        return (await self._checking.apply([verdict]))[0]

    def _told(self, event: str, outcome: Outcome) -> Outcome:
        if outcome.refusal is not None:
            self._observer.count("refusals", 1, code=outcome.refusal.value)
        message = outcome.message
        if not outcome.changed or message is None:
            return outcome
        self._observer.count("events", 1, event=event)
        dues = [message.due, *(each.due for each in message.deliveries)]
        for due in dues:
            if due is None:
                continue
            if due.kind is DueKind.SEND:
                self._wake(due.lane, due.at)
            elif due.kind is DueKind.CHECK:
                self._checking.lanes.expect(due.lane, due.at)
            elif due.kind is DueKind.PULL:
                self._announce(due.lane)
        return outcome


def _reason(reason: str) -> str:
    if not reason.strip():
        raise Invalid("reason_required", "Say why: it is kept with the message.", "/reason")
    return plain_text(reason)
