"""What every part of the store suite stands on: an opened store, and a hand that plays messages' lives in it."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.message import Claimed, Content, Message, Outcome, TimelineEvent
from aftercommit.ports.store import Busy, Result, Search, Store
from tests.builders import BILLING, SHIPPING, T0, World, message_id, set_up_world
from tests.ways import SMALL_BUDGETS, Commands, ways

TWO = {"billing": BILLING, "shipping": SHIPPING}


class Play:
    """A store with a world in it, and the time there."""

    def __init__(self, store: Store, world: World) -> None:
        self.store = store
        self.world = world
        self.now = T0

    def say(self, number: int = 1) -> Commands:
        """The commands about message `number`; a prepare of now."""
        return Commands(self.world, number, self.now)

    def later(self, milliseconds: int) -> None:
        """Time passes."""
        self.now += milliseconds

    async def change_world(self, subscriptions: Mapping[str, str] | None = None, **policy: object) -> None:
        """Change the topic's subscriptions and policy."""
        self.world = await set_up_world(self.store, subscriptions, policy=SMALL_BUDGETS | policy, now=self.now)

    async def write(self, *work: c.Work) -> list[Result]:
        """Everything in one write, now."""
        return await self.store.write(work, self.now)

    async def do(self, *commands: c.Prepare | c.Command) -> list[Outcome]:
        """Commands in one write, now; again while somebody else holds one of the messages."""
        results = await self.write(*commands)
        while any(isinstance(each, Busy) for each in results):
            results = await self.write(*commands)
        outcomes = [each for each in results if isinstance(each, Outcome)]
        assert len(outcomes) == len(commands)
        return outcomes

    async def one(self, command: c.Prepare | c.Command) -> Outcome:
        """One command in a write of its own."""
        [outcome] = await self.do(command)
        assert outcome.id
        return outcome

    async def claim(self, claim: c.Claim) -> Claimed:
        """One claim in a write of its own."""
        [claimed] = await self.write(claim)
        assert isinstance(claimed, Claimed)
        return claimed

    async def come(self, way: str, number: int = 1) -> Message:
        """Bring message `number` to a status by one of `tests.ways`."""
        for after, work in ways(self.world, number)[way][1]:
            self.now = max(self.now, T0 + after)
            await self.write(work)
        return await self.state(number)

    async def state(self, number: int = 1) -> Message:
        """The stored state of message `number`."""
        return (await self.store.find([message_id(number)]))[message_id(number)]

    async def events(self, number: int = 1) -> tuple[TimelineEvent, ...]:
        """The history of message `number`."""
        stored = await self.store.get(message_id(number))
        return stored.events if stored else ()

    async def content(self, number: int = 1) -> Content | None:
        """What message `number` carries."""
        stored = await self.store.get(message_id(number))
        return stored.content if stored else None

    async def all_messages(self) -> list[Message]:
        """Everything that is stored, newest first."""
        found: list[Message] = []
        search = Search(limit=100)
        while True:
            page = await self.store.search(search)
            found += [each.message for each in page.messages]
            if page.next_after is None:
                return found
            search = Search(limit=100, after=page.next_after)


def numbers(claimed: Claimed) -> list[int]:
    """Which of the tests' messages a claim took, in its order."""
    return [int(each.message.id[-12:], 16) for each in claimed.taken]


def statuses(message: Message) -> list[str]:
    """The statuses of a message's deliveries, in their order."""
    return [each.status.value for each in message.deliveries]


class StoreCase:
    """Subclasses say how their store is made.

    `make_store` called twice with the same place gives the same database where `durable`. `place` may be overridden by
    a fixture that gives something else than a fresh folder.
    """

    durable = False

    def make_store(self, place: Any) -> Store:
        """A store that is not open yet, with chance 0."""
        raise TypeError(f"{type(self).__name__} does not say how its store is made.")

    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        """Where the store keeps its messages."""
        return tmp_path

    @pytest.fixture
    async def store(self, place: Any) -> AsyncIterator[Store]:
        """An opened, empty store."""
        store = self.make_store(place)
        await store.open(T0)
        yield store
        await store.close()

    @pytest.fixture
    async def play(self, store: Store) -> Play:
        """A topic with its implicit subscription and small budgets."""
        return Play(store, await set_up_world(store, policy=SMALL_BUDGETS))

    @pytest.fixture
    async def two(self, store: Store) -> Play:
        """A topic with the subscriptions `billing` and `shipping`, each owned by the application of that name."""
        return Play(store, await set_up_world(store, TWO, policy=SMALL_BUDGETS))
