"""Ways a message comes to each status, as work with its time; and the command for every event."""

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Status
from tests.builders import DAY, HOUR, MINUTE, T0, World, make_prepare, message_id

# Budgets small enough to be used up in a few steps. No check possible for 3 x 60 s is too long.
SMALL_BUDGETS: dict[str, object] = {
    "checks_max": 3,
    "check_interval_seconds": 30,
    "check_interval_max_seconds": 60,
    "publish_attempts_max": 2,
    "deliveries_max": 2,
    "redelivery_seconds": (60, 300),
}
UNREACHABLE_LIMIT = 3 * MINUTE

# Work and when it is done, counted from the beginning.
Steps = list[tuple[int, c.Work]]


class Commands:
    """Everything that can be said about message `number`, by those who may say it."""

    def __init__(self, world: World, number: int = 1, now: int = T0) -> None:
        self.world = world
        self.number = number
        self.now = now
        self.id = message_id(number)

    def prepare(self, *, confirmed: bool = False, delay: int = 0) -> c.Prepare:
        return make_prepare(self.world, self.number, now=self.now, confirmed=confirmed, delay=delay)

    def confirm(self) -> c.Confirm:
        return c.Confirm(id=self.id, app=self.world.orders, actor="orders")

    def cancel(self, *, tombstone: bool = False, reason: str | None = None) -> c.Cancel:
        return c.Cancel(id=self.id, app=self.world.orders, actor="orders", reason=reason, tombstone=tombstone)

    def checked(self, outcome: str, *, made: bool = True, counted: bool = False) -> c.CheckAnswered:
        return c.CheckAnswered(
            id=self.id,
            outcome=c.CheckOutcome(outcome),
            made=made,
            counted=counted,
            detail=None if outcome != "unknown" else "no answer" if made else "no address",
        )

    def accepted(self, *, pullable: bool = True) -> c.Accepted:
        return c.Accepted(id=self.id, pullable=pullable)

    def refused(self, *, final: bool = True) -> c.BrokerRefused:
        return c.BrokerRefused(id=self.id, reason="too large", final=final)

    def pull(self, subscription: str = "default") -> c.Pull:
        return c.Pull(id=self.id, subscription=self.world.subscriptions[subscription])

    def redelivered(self, subscription: str = "default") -> c.Redelivered:
        return c.Redelivered(id=self.id, subscription=self.world.subscriptions[subscription])

    def expire(self, subscription: str = "default") -> c.Expire:
        return c.Expire(id=self.id, subscription=self.world.subscriptions[subscription])

    def complete(self, subscription: str | None = None, *, app: int | None = None) -> c.Complete:
        owner = self._owner(subscription) if app is None else app
        return c.Complete(id=self.id, app=owner, actor="consumer", subscription=subscription)

    def fail(self, subscription: str | None = None, *, app: int | None = None, reason: str = "no stock") -> c.Fail:
        owner = self._owner(subscription) if app is None else app
        return c.Fail(id=self.id, app=owner, actor="consumer", reason=reason, subscription=subscription)

    def resolve(self, *, committed: bool) -> c.Resolve:
        return c.Resolve(id=self.id, app=None, actor="olga", committed=committed, reason="looked it up")

    def recheck(self) -> c.Recheck:
        return c.Recheck(id=self.id, app=None, actor="olga")

    def redeliver(self, *subscriptions: str, replay: int | None = None) -> c.Redeliver:
        return c.Redeliver(
            id=self.id,
            app=None,
            actor="olga",
            replay_id=message_id(replay or self.number + 900_000),
            subscriptions=subscriptions or None,
            reason="asked for",
        )

    def discard(self, *, subscription: int | None = None) -> c.Discard:
        return c.Discard(id=self.id, app=None, actor="olga", reason="given up", subscription=subscription)

    def for_event(self, event: str) -> c.Command:
        """The command that stands for an event of the table, where one does by itself."""
        commands: dict[str, c.Command] = {
            "confirm": self.confirm(),
            "check_committed": self.checked("committed"),
            "cancel": self.cancel(),
            "check_rolled_back": self.checked("rolled_back"),
            "check_unknown": self.checked("unknown"),
            "accepted": self.accepted(),
            "refused": self.refused(),
            "pull": self.pull(),
            "redelivery_due": self.redelivered(),
            "complete": self.complete(),
            "fail": self.fail(),
            "resolve_committed": self.resolve(committed=True),
            "resolve_rolled_back": self.resolve(committed=False),
            "recheck": self.recheck(),
            # Of a completed message only named subscriptions are sent again.
            "redeliver": self.redeliver("default"),
            "discard": self.discard(),
        }
        return commands[event]

    def _owner(self, subscription: str | None) -> int:
        if subscription is None:
            return self.world.orders
        found = self.world.catalog.subscriptions.get(self.world.subscriptions.get(subscription, 0))
        return found.app if found else self.world.orders


# Used up only by two or more, which a single command cannot stand for.
BUDGET_EVENTS = frozenset({"checks_used_up", "deliveries_used_up"})


def ways(world: World, number: int = 1) -> dict[str, tuple[Status, Steps]]:
    """Name -> the status reached and the steps to it, in a world with `SMALL_BUDGETS` and the implicit subscription."""
    say = Commands(world, number)
    return _undecided_ways(say) | _decided_ways(say) | _delivery_ways(say) | _settled_ways(say)


def _undecided_ways(say: Commands) -> dict[str, tuple[Status, Steps]]:
    prepared = _prepared(say)
    handed_out: c.Work = c.HandOutCheck(id=say.id)
    not_made = say.checked("unknown", made=False)
    pending, undecided = Status.PENDING_CONFIRMATION, Status.UNDECIDED
    return {
        "prepared": (pending, prepared),
        "check held": (pending, [*prepared, (MINUTE, c.HoldCheck(id=say.id))]),
        "check handed out": (pending, [*prepared, (MINUTE, handed_out)]),
        "nobody to ask yet": (pending, [*prepared, (MINUTE, not_made)]),
        "checks used up": (undecided, _asked_in_vain(say)),
        "handed out checks used up": (undecided, [*prepared, *((each * MINUTE, handed_out) for each in (1, 2, 4, 6))]),
        "nobody to ask for too long": (
            undecided,
            [*prepared, (MINUTE, not_made), (MINUTE + UNREACHABLE_LIMIT, not_made)],
        ),
    }


def _decided_ways(say: Commands) -> dict[str, tuple[Status, Steps]]:
    prepared, asked = _prepared(say), _asked_in_vain(say)
    pending, rolled_back = Status.PENDING_SEND, Status.ROLLED_BACK
    return {
        "confirmed": (pending, [*prepared, (0, say.confirm())]),
        "prepared as confirmed": (pending, _confirmed(say)),
        "delayed": (pending, [(0, say.prepare(confirmed=True, delay=DAY))]),
        "check said committed": (pending, [*prepared, (MINUTE, say.checked("committed"))]),
        "resolved as committed": (pending, [*asked, (HOUR, say.resolve(committed=True))]),
        "cancelled": (rolled_back, [*prepared, (0, say.cancel())]),
        "cancelled before it was prepared": (rolled_back, [(0, say.cancel(tombstone=True))]),
        "check said rolled back": (rolled_back, [*prepared, (MINUTE, say.checked("rolled_back"))]),
        "resolved as rolled back": (rolled_back, [*asked, (HOUR, say.resolve(committed=False))]),
    }


def _delivery_ways(say: Commands) -> dict[str, tuple[Status, Steps]]:
    confirmed, outside = _confirmed(say), say.accepted(pullable=False)
    refused, again = say.refused(final=False), say.redelivered()
    redelivered: Steps = [*confirmed, (0, outside), (MINUTE, again), (HOUR, again)]
    return {
        "refused by the broker once": (Status.PENDING_SEND, [*confirmed, (0, refused)]),
        "redelivered by an operator": (Status.PENDING_SEND, [*_given_up(say), (HOUR, say.redeliver())]),
        "pullable": (Status.SENT, _sent(say)),
        "pulled": (Status.SENT, [*_sent(say), (0, say.pull())]),
        "accepted by an outside broker": (Status.SENT, [*confirmed, (0, outside)]),
        "pulls used up": (Status.UNDELIVERED, _given_up(say)),
        "redeliveries used up": (Status.UNDELIVERED, redelivered),
        "refused by the broker for good": (Status.UNDELIVERED, [*confirmed, (0, say.refused())]),
        "refused by the broker too often": (Status.UNDELIVERED, [*confirmed, (0, refused), (MINUTE, refused)]),
    }


def _settled_ways(say: Commands) -> dict[str, tuple[Status, Steps]]:
    return {
        "completed": (Status.COMPLETED, [*_sent(say), (0, say.complete())]),
        "completed before it was sent": (Status.COMPLETED, [*_confirmed(say), (0, say.complete())]),
        "completed after it was given up": (Status.COMPLETED, [*_given_up(say), (DAY, say.complete())]),
        "failed": (Status.FAILED, [*_sent(say), (0, say.fail())]),
        "discarded": (Status.FAILED, [*_given_up(say), (DAY, say.discard())]),
    }


def _prepared(say: Commands) -> Steps:
    return [(0, say.prepare())]


def _asked_in_vain(say: Commands) -> Steps:
    return [*_prepared(say), *((each * MINUTE, say.checked("unknown")) for each in (1, 2, 3))]


def _confirmed(say: Commands) -> Steps:
    return [(0, say.prepare(confirmed=True))]


def _sent(say: Commands) -> Steps:
    return [*_confirmed(say), (0, say.accepted())]


def _given_up(say: Commands) -> Steps:
    return [*_sent(say), (0, say.pull()), (MINUTE, say.pull()), (HOUR, say.expire())]
