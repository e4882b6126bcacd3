"""Locked messages: they are tried again at the side, hold up nobody else, and are given up after two seconds."""

import asyncio
from collections.abc import Sequence

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.commands import Confirm, Work
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import Outcome
from aftercommit.ports.store import Busy, Result, StoreCapabilities
from aftercommit.service.gathering import Gatherer
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver


class Locks:
    """A store in which somebody else holds the rows of `locked`. Ids in `broken` raise what they are mapped to."""

    capabilities = StoreCapabilities(writers_max=1, shared=True)
    catalog = Catalog.of()

    def __init__(self, *locked: str) -> None:
        self.locked = set(locked)
        self.broken: dict[str, Exception] = {}
        self.batches: list[list[str]] = []
        self.at_ms: list[int] = []

    async def write(self, work: Sequence[Work], now: int) -> list[Result]:
        """Busy for what is locked, an outcome for the rest."""
        ids = [each.id for each in work if isinstance(each, Confirm)]
        self.batches.append(ids)
        self.at_ms.append(now)
        for each in ids:
            if each in self.broken:
                raise self.broken[each]
        return [
            Busy(id=each, status=Status.SENT) if each in self.locked else Outcome(id=each, status=Status.COMPLETED)
            for each in ids
        ]


class Stage:
    """A gatherer in front of such a store, and a clock that only the test moves."""

    def __init__(self, *locked: str, queue_max: int = 1000) -> None:
        self.store = Locks(*locked)
        self.clock = ManualClock(start_ms=0)
        self.observer = RecordingObserver()
        self.gatherer = Gatherer(
            self.store,  # type: ignore[arg-type]  # only what a gatherer uses
            clock=self.clock,
            observer=self.observer,
            queue_max=queue_max,
        )

    async def ask(self, *ids: str) -> "asyncio.Task[list[Outcome]]":
        """Confirm these in one call, which is left running."""
        work = [Confirm(id=each, app=1, actor="orders") for each in ids]
        call = asyncio.create_task(self.gatherer.apply(work))
        await self.clock.settle()
        return call


async def test_a_locked_message_is_tried_again_with_growing_pauses_and_given_up_after_two_seconds() -> None:
    stage = Stage("a")
    call = await stage.ask("a")
    await stage.clock.run(1.999)
    assert not call.done()

    await stage.clock.run(0.001)

    outcome = call.result()[0]
    assert (outcome.id, outcome.refusal, outcome.status, outcome.changed) == ("a", Refusal.BUSY, Status.SENT, False)
    assert stage.store.at_ms[:9] == [0, 2, 6, 14, 30, 62, 112, 162, 212]
    assert stage.store.at_ms[-1] == 2000
    await stage.clock.run(1.0)
    assert stage.store.at_ms[-1] == 2000


async def test_a_message_that_is_let_go_is_answered_as_if_it_had_never_been_locked() -> None:
    stage = Stage("a")
    call = await stage.ask("a")
    await stage.clock.run(0.001)
    stage.store.locked.clear()
    await stage.clock.run(0.001)
    assert call.result() == [Outcome(id="a", status=Status.COMPLETED)]


async def test_only_what_is_locked_is_tried_again_and_the_call_is_answered_as_a_whole() -> None:
    stage = Stage("b", "d")
    call = await stage.ask("a", "b", "c", "d")
    stage.store.locked = {"d"}
    await stage.clock.run(2.0)
    assert [(each.id, each.refusal) for each in call.result()] == [
        ("a", None),
        ("b", None),
        ("c", None),
        ("d", Refusal.BUSY),
    ]
    assert stage.store.batches[:3] == [["a", "b", "c", "d"], ["b", "d"], ["d"]]


async def test_work_on_one_locked_message_keeps_its_order_inside_a_call() -> None:
    stage = Stage("b")
    await stage.ask("b", "a", "b")
    await stage.clock.run(0.002)
    assert stage.store.batches == [["b", "a", "b"], ["b", "b"]]


async def test_other_calls_of_the_same_write_are_answered_at_once() -> None:
    stage = Stage("a")
    locked, free = (asyncio.create_task(stage.gatherer.apply([Confirm(id=each, app=1, actor="o")])) for each in "ab")
    await stage.clock.settle()
    assert stage.store.batches == [["a", "b"]]
    assert (locked.done(), free.done()) == (False, True)
    later = await stage.ask("c")
    assert later.done()


async def test_calls_that_are_due_together_are_tried_together() -> None:
    stage = Stage("a", "b")
    await stage.ask("a")
    await stage.ask("b")
    await stage.clock.run(0.006)
    assert stage.store.batches == [["a"], ["b"], ["a", "b"], ["a", "b"]]


async def test_a_new_call_does_not_wait_until_the_long_pause_of_another_is_over() -> None:
    stage = Stage("a", "b")
    await stage.ask("a")
    await stage.clock.run(0.200)
    stage.store.batches.clear()
    stage.store.at_ms.clear()
    await stage.ask("b")
    await stage.clock.run(0.013)
    assert list(zip(stage.store.at_ms, stage.store.batches, strict=True)) == [
        (200, ["b"]),
        (202, ["b"]),
        (206, ["b"]),
        (212, ["a"]),
    ]


async def test_what_waits_for_locks_counts_as_waiting_until_it_is_answered() -> None:
    stage = Stage("a")
    await stage.ask("a", "b")
    assert stage.gatherer.depth == 1
    await stage.clock.run(2.0)
    assert stage.gatherer.depth == 0


async def test_draining_waits_for_what_is_locked() -> None:
    stage = Stage("a")
    call = await stage.ask("a")
    draining = asyncio.create_task(stage.gatherer.drain())
    await stage.clock.run(1.0)
    assert not draining.done()
    stage.store.locked.clear()
    await stage.clock.run(0.1)
    assert (draining.done(), call.result()[0].status) == (True, Status.COMPLETED)


async def test_a_caller_that_leaves_takes_nobody_along_and_its_work_is_done_all_the_same() -> None:
    stage = Stage("a", "b")
    gone, stays = await stage.ask("a"), await stage.ask("b")
    gone.cancel()
    stage.store.locked.clear()
    await stage.clock.run(0.1)
    assert stage.store.batches[-1] == ["a", "b"]
    assert stays.result()[0].status == Status.COMPLETED


async def test_a_database_that_goes_away_meanwhile_is_tried_until_the_time_is_up() -> None:
    stage = Stage("a")
    call = await stage.ask("a", "b")
    stage.store.broken["a"] = StoreUnavailable("The database is gone.")
    await stage.clock.run(2.0)
    assert [each.refusal for each in call.result()] == [Refusal.BUSY, None]


async def test_a_bug_in_one_callers_locked_work_is_that_callers_alone() -> None:
    stage = Stage("a", "b")
    broken, fine = await stage.ask("a"), await stage.ask("b")
    stage.store.locked.clear()
    stage.store.broken["a"] = RuntimeError("a bug of ours")
    await stage.clock.run(0.1)
    assert isinstance(broken.exception(), RuntimeError)
    assert fine.result()[0].status == Status.COMPLETED
    assert stage.gatherer.depth == 0
