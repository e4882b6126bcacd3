"""Check-back: asking initiators what became of the transactions nobody confirmed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aftercommit.domain.catalog import App
from aftercommit.domain.commands import CheckAnswered, CheckOutcome, ClaimChecks, ClaimUnasked
from aftercommit.domain.errors import Invalid, NotFound
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import DueKind, Message, Outcome, Taken
from aftercommit.ports.checkback import Checkback, Question, Verdict
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.ports.store import Reader
from aftercommit.service.breaker import Breaker
from aftercommit.service.caller import Caller
from aftercommit.service.directory import Directory
from aftercommit.service.gathering import Gatherer
from aftercommit.service.lanes import Lanes
from aftercommit.wire import CHECKS_PER_CALL_MAX, Check, CheckResult, rfc3339

SWEEP_SECONDS: Final = 1.0
CALLS_PER_APP_MAX: Final = 4
# Those that may wait longer stay in front of those that may not: look at many.
UNASKED_MAX: Final = 1000
WAIT_MAX_SECONDS: Final = 30.0
# Who waits for questions looks again this often; on a shared database another node may have taken new messages.
LOOK_AGAIN_SECONDS: Final = 1.0
LOOK_AGAIN_SHARED_SECONDS: Final = 0.25


class Checking:
    """Both ways of asking: calling the initiator's address, and being asked for the questions by an initiator that
    cannot be called. No transaction is open while anybody is asked.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        reader: Reader,
        directory: Directory,
        checkback: Checkback,
        *,
        clock: Clock,
        observer: Observer,
        wake: Callable[[int, int], None],
        chance: Callable[[], float],
        shared: bool,
    ) -> None:
        self._gatherer = gatherer
        self._directory = directory
        self._checkback = checkback
        self._clock = clock
        self._observer = observer
        self._wake = wake
        self._breaker = Breaker(clock=clock)
        self._calls: dict[int, set[asyncio.Task[None]]] = {}
        self._stopping = asyncio.Event()
        self._chance = chance
        self._look_again_seconds = LOOK_AGAIN_SHARED_SECONDS if shared else LOOK_AGAIN_SECONDS
        # By application: when somebody last looked for its questions and found none. Who waits need not look as well.
        self._looked_at: dict[int, float] = {}
        self.lanes = Lanes(reader, DueKind.CHECK, clock=clock, sweep_seconds=SWEEP_SECONDS)

    async def run_once(self) -> float | None:
        """Start a call for every application with due checks and room for one more; returns when to look again."""
        await self.lanes.sweep_if_due()
        due = self.lanes.take_due()
        await self._directory.know(apps=due)
        # What is not known even so is left for the next sweep.
        await asyncio.gather(*(self._check(app) for app in due if app in self._directory.catalog.apps))
        return self.lanes.seconds_until_next()

    def address_changed(self, app: int) -> None:
        """The application may be reached elsewhere now: how the old address did says nothing about the new one."""
        self._breaker.succeeded(app)
        self.lanes.expect(app, self._clock.now())

    def stop(self) -> None:
        """Send everybody who waits for questions home, with none."""
        self._stopping.set()

    async def drain(self) -> None:
        """Wait for the calls under way."""
        await asyncio.gather(*(call for calls in self._calls.values() for call in calls), return_exceptions=True)

    async def ask_now(self, message: Message, taken: Taken) -> Verdict | None:
        """One more check of one message, for an operator; None where its application has no address."""
        app = self._directory.catalog.apps[message.app]
        if app.check_url is None:
            return None
        verdict = (await self._checkback.ask(app, [self._question(taken)]))[0]
        self._counted([verdict])
        return verdict

    async def apply(self, verdicts: Sequence[Verdict]) -> list[Outcome]:
        """Write what checks brought."""
        work = [
            CheckAnswered(id=each.id, outcome=each.outcome, made=each.made, detail=each.detail) for each in verdicts
        ]
        outcomes = await self._gatherer.apply(work)
        self._told(outcomes)
        return outcomes

    async def pull(self, caller: Caller, app_name: str, limit: int, wait_seconds: float) -> list[Check]:
        """Hand due checks to an initiator that cannot be called. Handed out is counted."""
        app = await self._own_app(caller, app_name)
        if not 1 <= limit <= CHECKS_PER_CALL_MAX:
            raise Invalid("invalid_max", f"max must be from 1 to {CHECKS_PER_CALL_MAX}.", "/max")
        if not 0 <= wait_seconds <= WAIT_MAX_SECONDS:
            raise Invalid("invalid_wait", "wait_seconds must be from 0 to 30.", "/wait_seconds")
        until = self._clock.monotonic() + wait_seconds
        taken = await self._hand_out(app.id, limit)
        while not taken and not self._stopping.is_set() and (left := until - self._clock.monotonic()) > 0:
            # Jittered, so that nodes do not look in step.
            pause = self._look_again_seconds * (1 - 0.2 * self._chance())
            if await self._clock.wait(self._stopping, min(left, pause)):
                break
            if left <= pause or self._may_look(app.id, pause):
                taken = await self._hand_out(app.id, limit)
        return [self._check_shape(each) for each in taken]

    def _may_look(self, app: int, pause: float) -> bool:
        looked_at = self._looked_at.get(app)
        # A wait may end a moment early, by what is lost in counting seconds.
        return looked_at is None or self._clock.monotonic() - looked_at >= pause - 0.001

    async def _hand_out(self, app: int, limit: int) -> Sequence[Taken]:
        self._looked_at[app] = self._clock.monotonic()
        claimed = await self._gatherer.claim(ClaimChecks(app=app, limit=limit, handed_out=True))
        self._told_undecided(claimed.parked, claimed.seen)
        if claimed.taken:
            # More may be there: whoever waits looks for it.
            self._looked_at.pop(app, None)
        return claimed.taken

    async def answer(self, caller: Caller, app_name: str, results: Sequence[CheckResult]) -> list[Outcome]:
        """What an initiator says about the checks it fetched."""
        app = await self._own_app(caller, app_name)
        work = []
        for index, each in enumerate(results):
            if each.outcome not in set(CheckOutcome):
                detail = "outcome must be committed, rolled_back or unknown."
                raise Invalid("invalid_outcome", detail, f"/results/{index}/outcome")
            work.append(CheckAnswered(id=each.id, outcome=CheckOutcome(each.outcome), counted=True, app=app.id))
        outcomes = await self._gatherer.apply(work)
        self._told(outcomes)
        return outcomes

    async def _check(self, app_id: int) -> None:
        app = self._directory.catalog.apps[app_id]
        calls = self._calls.setdefault(app_id, set())
        if app.check_url is None:
            claimed = await self._gatherer.claim(ClaimUnasked(app=app_id, limit=UNASKED_MAX))
            self._told_undecided(claimed.parked, claimed.seen)
            return
        if len(calls) >= CALLS_PER_APP_MAX or not self._breaker.closed(app_id):
            return
        claimed = await self._gatherer.claim(ClaimChecks(app=app_id, limit=CHECKS_PER_CALL_MAX))
        if claimed.next_at is not None:
            self.lanes.expect(app_id, claimed.next_at)
        if claimed.taken:
            call = asyncio.create_task(self._call(app, claimed.taken))
            calls.add(call)
            call.add_done_callback(calls.discard)

    async def _call(self, app: App, taken: Sequence[Taken]) -> None:
        verdicts = await self._checkback.ask(app, [self._question(each) for each in taken])
        self._counted(verdicts)
        if any(each.made for each in verdicts):
            self._breaker.succeeded(app.id)
        else:
            self._breaker.failed(app.id)
        try:
            await self.apply(verdicts)
        except Exception as error:
            # The hold runs out and the questions are asked again; nothing is lost but an answer.
            self._observer.alert("check_answers_lost", f"Answers of {app.name} could not be written: {error}.")
        self.lanes.expect(app.id, self._clock.now())

    def _question(self, taken: Taken) -> Question:
        message, content = taken.message, taken.content
        return Question(
            id=message.id,
            topic=self._directory.topic_name(message.topic) or "",
            key=content.key if content is not None else None,
            hint=content.check_hint if content is not None else None,
            prepared_at=message.prepared_at,
            check=message.checks + 1,
        )

    def _check_shape(self, taken: Taken) -> Check:
        asked = self._question(taken)
        return Check(
            id=asked.id,
            topic=asked.topic,
            key=asked.key,
            hint=asked.hint,
            prepared_at=rfc3339(asked.prepared_at),
            check=taken.message.checks,
        )

    async def _own_app(self, caller: Caller, name: str) -> App:
        app = await self._directory.find_app(name)
        if not caller.wide and app.id != self._directory.app_id(caller):
            raise NotFound("unknown_app", f"There is no application {name!r}.")
        return app

    def _counted(self, verdicts: Sequence[Verdict]) -> None:
        for each in verdicts:
            self._observer.count("checks", 1, outcome=each.outcome.value if each.made else "not_made")

    def _told(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            message = outcome.message
            if outcome.refusal in (Refusal.ROLLED_BACK, Refusal.ALREADY_CONFIRMED):
                self._observer.count("contradictions")
                if message is not None and message.resolved_by is not None:
                    detail = f"Message {outcome.id} was resolved by {message.resolved_by}; a check now disagrees."
                    self._observer.alert("resolution_contradicted", detail)
            if not outcome.changed or message is None:
                continue
            if message.due is not None and message.due.kind is DueKind.SEND:
                self._observer.count("events", 1, event="confirmed")
                self._wake(message.due.lane, message.due.at)
            elif message.status is Status.ROLLED_BACK:
                self._observer.count("events", 1, event="cancelled")
            elif message.due is not None:
                self.lanes.expect(message.app, message.due.at)
        undecided = [each for each in outcomes if each.changed and each.status is Status.UNDECIDED]
        self._told_undecided(len(undecided), len(outcomes))

    def _told_undecided(self, undecided: int, looked_at: int) -> None:
        if undecided:
            self._observer.count("events", undecided, event=Status.UNDECIDED)
            self._observer.alert(Status.UNDECIDED, f"{undecided} of {looked_at} messages checked are undecided now.")
