"""What consumers say: complete and fail."""

from collections.abc import Sequence

from aftercommit.domain.commands import Complete, Fail
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import Outcome
from aftercommit.ports.observer import Observer
from aftercommit.service.caller import Caller
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.words import plain_text
from aftercommit.wire import CompleteItem, FailItem


class Reports:
    """The consumer's door."""

    def __init__(self, gatherer: Gatherer, directory: Directory, *, observer: Observer) -> None:
        self._gatherer = gatherer
        self._directory = directory
        self._observer = observer

    async def complete(self, caller: Caller, message_id: str, subscription: str | None) -> Outcome:
        """The work is done."""
        return (await self.complete_many(caller, (CompleteItem(id=message_id, subscription=subscription),)))[0]

    async def complete_many(self, caller: Caller, items: Sequence[CompleteItem]) -> list[Outcome]:
        """Complete many, each on its own."""
        app = await self._directory.find_app_id(caller)
        work = [Complete(id=each.id, app=app, actor=caller.app, subscription=each.subscription) for each in items]
        return self._told(Status.COMPLETED, await self._gatherer.apply(work))

    async def fail(self, caller: Caller, message_id: str, reason: str, subscription: str | None) -> Outcome:
        """The work is refused for good."""
        return (await self.fail_many(caller, (FailItem(id=message_id, reason=reason, subscription=subscription),)))[0]

    async def fail_many(self, caller: Caller, items: Sequence[FailItem]) -> list[Outcome]:
        """Fail many, each on its own."""
        app = await self._directory.find_app_id(caller)
        work = [
            Fail(id=each.id, app=app, actor=caller.app, reason=plain_text(each.reason), subscription=each.subscription)
            for each in items
        ]
        return self._told(Status.FAILED, await self._gatherer.apply(work))

    def _told(self, event: str, outcomes: list[Outcome]) -> list[Outcome]:
        changed = sum(outcome.changed for outcome in outcomes)
        if changed:
            self._observer.count("events", changed, event=event)
        if changed < len(outcomes):
            for outcome in outcomes:
                if outcome.refusal is not None:
                    self._refused(event, outcome)
        return outcomes

    def _refused(self, event: str, outcome: Outcome) -> None:
        self._observer.count("refusals", 1, code=str(outcome.refusal))
        if outcome.refusal is Refusal.UNKNOWN_MESSAGE:
            self._observer.count("orphan_reports")
        elif outcome.refusal is Refusal.NOT_DELIVERED:
            self._observer.count("reports_before_delivery")
            detail = f"Message {outcome.id} was reported {event} although nothing of it was delivered."
            self._observer.alert("report_before_delivery", detail)
