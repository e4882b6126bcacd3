"""One message's life, played through the pure functions only."""

from collections.abc import Callable

from aftercommit.domain import commands as c
from aftercommit.domain import confirmation
from aftercommit.domain.advance import advance
from aftercommit.domain.message import Delivery, DueKind, Message, TimelineEvent
from aftercommit.domain.step import Context, Step
from tests.builders import T0, World, make_world
from tests.ways import SMALL_BUDGETS, Commands, ways


class Life:
    """Applies commands to a message the way a store does, and keeps what the timeline was told."""

    def __init__(self, world: World, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.world = world
        self.say = Commands(world)
        self.chance = chance
        self.now = T0
        self.events: list[TimelineEvent] = []
        self._message: Message | None = None

    @property
    def message(self) -> Message:
        """The present state."""
        assert self._message is not None
        return self._message

    def context(self) -> Context:
        """What a transition sees now."""
        return Context(now=self.now, catalog=self.world.catalog, chance=self.chance)

    def do(self, work: c.Work) -> Step | None:
        """Apply one piece of work; a prepare or a tombstone begins the life."""
        if isinstance(work, c.Prepare):
            self._message = confirmation.first_state(work, self.context())
            return None
        if self._message is None and isinstance(work, c.Cancel):
            self._message = confirmation.tombstone(work, self.now)
            return None
        assert not isinstance(work, c.Claim)
        return self.step(work)

    def step(self, command: c.Command) -> Step:
        """Apply one command."""
        step = advance(command, self.message, self.context())
        if step.message is not None:
            self._message = step.message
        self.events += step.events
        return step

    def delivery(self, subscription: str = "default") -> Delivery:
        """The present state of one delivery."""
        wanted = self.world.subscriptions[subscription]
        return next(each for each in self.message.deliveries if each.subscription == wanted)


def life_by(way: str) -> Life:
    """A message that has come to its status by one of `tests.ways`."""
    life = Life(make_world(policy=SMALL_BUDGETS))
    for after, work in ways(life.world)[way][1]:
        life.now = T0 + after
        life.do(work)
    return life


def dues(message: Message) -> list[DueKind]:
    """Every kind of work that waits on a message."""
    own = [message.due] if message.due else []
    return [due.kind for due in (*own, *(each.due for each in message.deliveries)) if due]
