"""Random programs for stores: the same work at the same time, so that two stores can be compared step by step."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Catalog, CatalogEdit
from aftercommit.domain.errors import CallerError
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Claimed, DueKind, Taken
from aftercommit.ports.broker import Accepted, Answer, Refused, Unavailable
from aftercommit.ports.store import Dispatch, Listed, Search, Store
from tests.builders import (
    BILLING,
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SHIPPING,
    T0,
    World,
    make_content,
    make_prepare,
    world_edits,
    world_of,
)
from tests.ways import SMALL_BUDGETS, Commands

# The messages a step may be about: this many, and every few steps the oldest of them is left alone for good.
MESSAGES = 8
STEPS_PER_MESSAGE = 3
REPLAYS = 100_000
SETTLED = ("completed", "rolled_back", "failed")
LAYOUTS: tuple[dict[str, str], ...] = (
    {},
    {"billing": BILLING},
    {"billing": BILLING, "shipping": SHIPPING},
    {"billing": BILLING, "audit": BILLING, "default": SHIPPING},
)


@dataclass
class Program:
    """Draws steps from a seed. The same seed draws the same steps for every store."""

    seed: int
    now: int = T0
    steps: int = 0
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    async def set_up(self, *stores: Store) -> None:
        """Put the same world into every store."""
        for edit in world_edits(LAYOUTS[self.chance.randrange(len(LAYOUTS))], policy=SMALL_BUDGETS):
            for store in stores:
                await store.edit_catalog(edit, self.now)

    async def step(self, *stores: Store) -> list[list[object]]:
        """Do the next step with every store; what each answered."""
        self.steps += 1
        self.now += self.chance.choice((0, 0, 1, SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, HOUR, 2 * HOUR))
        kind = self.chance.choices(("write", "dispatch", "edit", "purge"), (80, 14, 4, 2))[0]
        world = world_of(stores[0].catalog)
        if kind == "write":
            work = [self._work(world) for _ in range(self.chance.randint(1, 5))]
            return [
                [
                    (each, _comparable(each, answer))
                    for each, answer in zip(work, await store.write(work, self.now), strict=True)
                ]
                for store in stores
            ]
        if kind == "dispatch":
            return await self._dispatch(world, stores)
        if kind == "edit":
            edit = self._edit()
            return [[kind, await _edited(store, edit, self.now)] for store in stores]
        later = self.now + self.chance.choice((0, 3 * DAY, 8 * DAY))
        return [[kind, later, await store.purge(later, 1000)] for store in stores]

    async def _dispatch(self, world: World, stores: Sequence[Store]) -> list[list[object]]:
        kind = self.chance.choice((DueKind.SEND, DueKind.REDELIVER))
        lane = world.topic if kind is DueKind.SEND else self._subscription(world)
        limit, seed = self.chance.randint(1, 6), self.chance.random()
        answers: list[list[object]] = []
        for store in stores:
            broker = RandomBroker(seed)
            done = await store.dispatch(Dispatch(kind=kind, lane=lane, limit=limit), broker, self.now)
            answers.append([kind, lane, limit, done, broker.published])
        return answers

    def _edit(self) -> Callable[[Catalog], CatalogEdit]:
        layout = self.chance.choice(LAYOUTS)
        policy = SMALL_BUDGETS | {"deliveries_max": self.chance.randint(1, 3), "checks_max": self.chance.randint(1, 4)}
        force = self.chance.random() < 0.5
        return world_edits(layout, policy=policy, now=self.now, force=force)[-1]

    def _work(self, world: World) -> c.Work:
        number = self.steps // STEPS_PER_MESSAGE + self.chance.randint(1, MESSAGES)
        if self.chance.random() < 0.25:
            return self._claim(world)
        if self.chance.random() < 0.3:
            return self._prepare(world, number)
        return self.chance.choice(self._commands(world, number))

    def _prepare(self, world: World, number: int) -> c.Prepare:
        return make_prepare(
            world,
            number,
            now=self.now,
            confirmed=self.chance.random() < 0.5,
            delay=self.chance.choice((0, 0, MINUTE, HOUR)),
            app=world.billing if self.chance.random() < 0.1 else world.orders,
            content=make_content(b"[]" if self.chance.random() < 0.1 else b"{}", key=f"k{number % 3}"),
        )

    def _claim(self, world: World) -> c.Claim:
        limit, subscription = self.chance.randint(1, 5), self._subscription(world)
        return self.chance.choice(
            (
                c.ClaimChecks(app=world.orders, limit=limit),
                c.ClaimChecks(app=world.orders, limit=limit, handed_out=True),
                c.ClaimUnasked(app=world.orders, limit=limit),
                c.ClaimSends(topic=world.topic, limit=limit),
                c.ClaimSends(topic=world.topic, limit=limit),
                c.ClaimPulls(subscription=subscription, limit=limit),
                c.ClaimPulls(subscription=subscription, limit=limit),
                c.ClaimPulls(subscription=subscription, limit=limit),
                c.ClaimExpired(subscription=subscription, limit=limit),
            )
        )

    def _commands(self, world: World, number: int) -> list[c.Command]:
        say = Commands(world, number, self.now)
        replay = REPLAYS + self.chance.randrange(REPLAYS)
        name = self.chance.choice((None, *world.subscriptions))
        app = self.chance.choice((world.orders, world.billing, world.billing, world.shipping))
        subscription = self.chance.choice((None, self._subscription(world)))
        return [
            say.confirm(),
            say.confirm(),
            say.cancel(tombstone=self.chance.random() < 0.5, reason="gave up"),
            say.complete(name, app=app),
            say.complete(name, app=app),
            say.fail(name, app=app),
            say.checked(self.chance.choice(("committed", "rolled_back", "unknown"))),
            say.checked("unknown", made=False),
            say.checked("unknown"),
            replace(say.accepted(pullable=self.chance.random() < 0.7), subscription=subscription),
            replace(say.refused(final=self.chance.random() < 0.3), subscription=subscription),
            c.Pull(id=say.id, subscription=self._subscription(world)),
            c.Redelivered(id=say.id, subscription=self._subscription(world)),
            say.resolve(committed=self.chance.random() < 0.5),
            say.recheck(),
            say.redeliver(*((name,) if name else ()), replay=replay),
            say.redeliver(replay=replay),
            say.discard(),
        ]

    def _subscription(self, world: World) -> int:
        return self.chance.choice(list(world.subscriptions.values()))


class RandomBroker:
    """Answers as its seed has it, the same for the same batches."""

    def __init__(self, seed: float) -> None:
        self._chance = random.Random(seed)
        self.published: list[object] = []

    async def __call__(self, batch: Sequence[Taken]) -> list[Answer]:
        """Publish."""
        self.published += batch
        answers = (Accepted(), Accepted(), Accepted(), Refused("no"), Refused("never", final=True), Unavailable("down"))
        return [self._chance.choice(answers) for _ in batch]


async def everything(store: Store) -> dict[str, object]:
    """All that can be read of a store."""
    listed = await _listed(store)
    return {
        "messages": [await store.get(each.message.id) for each in listed],
        "listed": listed,
        "tallies": sorted(
            (each.app, each.topic or 0, each.status, each.count, each.oldest_at)
            for each in await store.tallies()
            if each.count
        ),
        "lanes": sorted([(each.kind, each.lane, each.at) for kind in DueKind for each in await store.due_lanes(kind)]),
        "catalog": [
            sorted(each.items()) for each in (store.catalog.apps, store.catalog.topics, store.catalog.subscriptions)
        ],
    }


async def recounted(store: Store) -> dict[str, object]:
    """What tallies and lanes must be, worked out from the messages themselves."""
    messages = [each.message for each in await _listed(store)]
    times: dict[tuple[int, int, Status], list[int]] = {}
    lanes: dict[tuple[DueKind, int], list[int]] = {}
    for message in messages:
        times.setdefault((message.app, message.topic or 0, message.status), []).append(message.prepared_at)
        for due in (message.due, *(each.due for each in message.deliveries)):
            if due is not None:
                lanes.setdefault((due.kind, due.lane), []).append(due.at)
    return {
        "tallies": sorted(
            (*group, len(found), None if group[-1] in SETTLED else min(found)) for group, found in times.items()
        ),
        "lanes": sorted((*lane, min(found)) for lane, found in lanes.items()),
    }


async def _listed(store: Store) -> list[Listed]:
    found: list[Listed] = []
    after = None
    while True:
        page = await store.search(Search(limit=100, after=after))
        found += page.messages
        after = page.next_after
        if after is None:
            return found


def _comparable(work: c.Work, answer: object) -> object:
    """A store may leave content out of claims that hand nothing to anybody."""
    if isinstance(answer, Claimed) and isinstance(work, c.ClaimSends | c.ClaimExpired | c.ClaimUnasked):
        return replace(answer, taken=tuple(replace(each, content=None) for each in answer.taken))
    return answer


async def _edited(store: Store, edit: Callable[[Catalog], CatalogEdit], now: int) -> object:
    try:
        done = await store.edit_catalog(edit, now)
    except CallerError as error:
        return error.code
    return (done.created, done.dropped_subscriptions)
