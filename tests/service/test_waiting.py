"""Waiting on a shared database: what another node did is found soon, and however many wait, one looks for all."""

import asyncio
from collections.abc import Sequence

from aftercommit.domain.commands import ClaimChecks, ClaimPulls, Confirm
from aftercommit.domain.message import Claimed
from aftercommit.ports.store import StoreCapabilities
from aftercommit.service.lookout import Lookout
from aftercommit.testing.clock import ManualClock
from aftercommit.wire import Check, PulledMessage
from tests.service.shared import SharedStore
from tests.service.world import BILLING, ORDERS, TOPIC, World, world


class AloneStore(SharedStore):
    """The same, but nobody else uses it."""

    capabilities = StoreCapabilities(writers_max=1)


def pulls(made: World, count: int, limit: int = 1) -> "list[asyncio.Task[list[PulledMessage]]]":
    """That many consumers, waiting."""
    pull = made.services.pulling.pull
    return [asyncio.create_task(pull(BILLING, TOPIC, "billing", limit, 30)) for _ in range(count)]


async def confirm_elsewhere(made: World, store: SharedStore, ids: Sequence[str]) -> None:
    """Another node confirms: nobody here is told."""
    app = store.catalog.apps[1].id
    work = [Confirm(id=each, app=app, actor="orders", pullable=True) for each in ids]
    assert all(each.changed for each in await store.write(work, made.clock.now()))  # type: ignore[union-attr]


async def test_a_waiting_consumer_gets_within_a_quarter_of_a_second_what_another_node_confirmed() -> None:
    store = SharedStore()
    async with world(store=store) as w:
        await w.register()
        message_id = await w.prepare()
        [pull] = pulls(w, 1)
        await w.clock.run(10.1)
        await confirm_elsewhere(w, store, [message_id])
        await w.clock.run(0.25)
        assert [each.id for each in pull.result()] == [message_id]


async def test_however_many_wait_they_cost_one_look_in_a_quarter_of_a_second() -> None:
    store = SharedStore()
    async with world(store=store) as w:
        await w.register()
        waiting = pulls(w, 50)
        await w.clock.run(1.0)
        store.claims.clear()
        await w.clock.run(10.0)
        looks = [at for at, each in store.claims if isinstance(each, ClaimPulls)]
        assert 38 <= len(looks) <= 42
        assert not any(each.done() for each in waiting)


async def test_one_look_that_finds_something_sends_the_others_who_wait_for_the_rest() -> None:
    store = SharedStore()
    async with world(store=store) as w:
        await w.register()
        ids = [await w.prepare() for _ in range(5)]
        waiting = pulls(w, 8, limit=1)
        await w.clock.run(1.0)
        await confirm_elsewhere(w, store, ids)
        await w.clock.run(0.3)
        done = [each.result()[0].id for each in waiting if each.done()]
        assert sorted(done) == sorted(ids)


async def test_a_node_alone_with_its_database_looks_every_five_seconds_as_ever() -> None:
    store = AloneStore()
    async with world(store=store) as w:
        await w.register()
        waiting = pulls(w, 10)
        await w.clock.settle()
        store.claims.clear()
        await w.clock.run(29.0)
        assert len([each for _, each in store.claims if isinstance(each, ClaimPulls)]) == 5
        assert not any(each.done() for each in waiting)


async def test_when_the_one_who_looks_leaves_another_looks() -> None:
    store = SharedStore()
    async with world(store=store) as w:
        await w.register()
        message_id = await w.prepare()
        first, second = pulls(w, 2)
        await w.clock.run(1.0)
        first.cancel()
        await w.clock.run(1.0)
        await confirm_elsewhere(w, store, [message_id])
        await w.clock.run(0.25)
        assert [each.id for each in second.result()] == [message_id]


async def test_nobody_looks_when_nobody_waits_any_more() -> None:
    store = SharedStore()
    async with world(store=store) as w:
        await w.register()
        waiting = pulls(w, 3)
        await w.clock.run(31.0)
        assert [each.result() for each in waiting] == [[], [], []]
        store.claims.clear()
        await w.clock.run(60.0)
        assert not [each for _, each in store.claims if isinstance(each, ClaimPulls)]


async def test_what_is_due_but_held_by_somebody_else_is_looked_for_ever_more_seldom() -> None:
    clock = ManualClock()
    looks: list[float] = []
    lookout = Lookout(lambda: looks.append(clock.monotonic()), clock=clock, interval=lambda: 0.25)
    held = Claimed(next_at=clock.now())
    lookout.enter()
    lookout.seen(held)
    for _ in range(20):
        before = len(looks)
        await clock.run(0.001)
        if len(looks) > before:
            lookout.seen(held)
    assert [round(each, 3) for each in looks] == [0.005, 0.015]
    lookout.leave()
    await clock.settle()
    assert clock.waiters == 0


async def test_an_initiator_that_waits_for_questions_gets_those_another_node_took() -> None:
    store = SharedStore()
    async with world(store=store) as w:
        await w.register()

        async def fetch() -> list[Check]:
            return await w.services.checking.pull(ORDERS, "orders", 10, 30)

        waiting = [asyncio.create_task(fetch()) for _ in range(6)]
        await w.clock.run(1.0)
        store.claims.clear()
        await w.clock.run(4.0)
        assert 15 <= len([each for _, each in store.claims if isinstance(each, ClaimChecks)]) <= 17
        message_id = await w.prepare(check_after_seconds=0)
        await w.clock.run(0.25)
        assert [[each.id for each in call.result()] for call in waiting if call.done()] == [[message_id]]
