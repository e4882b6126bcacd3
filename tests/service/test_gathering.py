"""Natural batching: who shares a transaction with whom, and whose failure is whose."""

import asyncio
from collections.abc import Sequence

import pytest

from aftercommit.domain.catalog import Catalog
from aftercommit.domain.commands import ClaimPulls, ClaimSends, Confirm, Work
from aftercommit.domain.errors import Overloaded, StoreUnavailable
from aftercommit.domain.message import Claimed, Outcome
from aftercommit.ports.store import Result, StoreCapabilities
from aftercommit.service.gathering import BATCH_MAX, Gatherer
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.observer import RecordingObserver
from tests.builders import make_prepare, make_world


class Gate:
    """A store whose writes wait until they are let through. Poisoned ids raise, as a bug of ours would."""

    capabilities = StoreCapabilities(writers_max=1)
    catalog = Catalog.of()

    def __init__(self) -> None:
        self.batches: list[list[Work]] = []
        self.open = asyncio.Event()
        self.poisoned: set[str] = set()
        self.error: Exception | None = None

    async def write(self, work: Sequence[Work], now: int) -> list[Result]:
        """Remember the batch; answer when the gate is open."""
        self.batches.append(list(work))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if any(getattr(each, "id", None) in self.poisoned for each in work):
            raise RuntimeError("a bug of ours")
        return [Outcome(id=each.id) if isinstance(each, Confirm) else Claimed() for each in work]


def gatherer(gate: Gate, queue_max: int = 1000) -> Gatherer:
    """A gatherer in front of the gate."""
    return Gatherer(gate, clock=ManualClock(), observer=RecordingObserver(), queue_max=queue_max)  # type: ignore[arg-type]


def confirm(name: str) -> Confirm:
    """A piece of work with that id."""
    return Confirm(id=name, app=1, actor="orders")


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_while_a_write_is_under_way_shares_the_next() -> None:
    gate = Gate()
    gathers = gatherer(gate)
    first = asyncio.create_task(gathers.apply([confirm("a")]))
    await settle()
    rest = [asyncio.create_task(gathers.apply([confirm(each)])) for each in "bcd"]
    await settle()
    assert [len(batch) for batch in gate.batches] == [1]

    gate.open.set()
    await asyncio.gather(first, *rest)

    assert [[each.id for each in batch if isinstance(each, Confirm)] for batch in gate.batches] == [
        ["a"],
        ["b", "c", "d"],
    ]
    assert [(await each)[0].id for each in rest] == ["b", "c", "d"]


async def test_claims_come_last_and_sends_before_pulls_and_everybody_gets_their_own_answer() -> None:
    gate = Gate()
    gate.open.set()
    gathers = gatherer(gate)
    pull = asyncio.create_task(gathers.claim(ClaimPulls(subscription=1, limit=1)))
    send = asyncio.create_task(gathers.claim(ClaimSends(topic=1, limit=1)))
    said = asyncio.create_task(gathers.apply([confirm("a")]))
    await asyncio.gather(pull, send, said)
    assert [type(each) for each in gate.batches[0]] == [Confirm, ClaimSends, ClaimPulls]
    assert isinstance(await pull, Claimed)
    assert (await said)[0].id == "a"


async def test_a_claim_whose_claimant_is_gone_takes_nothing() -> None:
    gate = Gate()
    gathers = gatherer(gate)
    busy = asyncio.create_task(gathers.apply([confirm("a")]))
    await settle()
    gone = asyncio.create_task(gathers.claim(ClaimPulls(subscription=1, limit=1)))
    await settle()
    gone.cancel()
    gate.open.set()
    await asyncio.gather(busy, gone, return_exceptions=True)
    await gathers.drain()
    assert all(isinstance(each, Confirm) for batch in gate.batches for each in batch)
    assert gathers.depth == 0


async def test_work_whose_caller_is_gone_is_done_all_the_same() -> None:
    gate = Gate()
    gathers = gatherer(gate)
    busy = asyncio.create_task(gathers.apply([confirm("a")]))
    await settle()
    gone = asyncio.create_task(gathers.apply([confirm("b")]))
    await settle()
    gone.cancel()
    gate.open.set()
    await asyncio.gather(busy, gone, return_exceptions=True)
    await gathers.drain()
    assert [each.id for batch in gate.batches for each in batch if isinstance(each, Confirm)] == ["a", "b"]


async def test_a_bug_in_one_piece_of_work_is_that_callers_alone() -> None:
    gate = Gate()
    gate.open.set()
    gate.poisoned = {"b"}
    gathers = gatherer(gate)
    answers = await asyncio.gather(*(gathers.apply([confirm(each)]) for each in "abc"), return_exceptions=True)
    assert [type(each) for each in answers] == [list, RuntimeError, list]


async def test_a_store_that_is_unavailable_is_so_for_everybody_and_asked_once() -> None:
    gate = Gate()
    gate.open.set()
    gate.error = StoreUnavailable("The disk is full.")
    gathers = gatherer(gate)
    answers = await asyncio.gather(*(gathers.apply([confirm(each)]) for each in "abc"), return_exceptions=True)
    assert [type(each) for each in answers] == [StoreUnavailable] * 3
    assert len(gate.batches) == 1


async def test_a_batch_is_bounded_and_big_callers_are_not_torn_apart() -> None:
    gate = Gate()
    gathers = gatherer(gate, queue_max=10 * BATCH_MAX)
    busy = asyncio.create_task(gathers.apply([confirm("a")]))
    await settle()
    big = [asyncio.create_task(gathers.apply([confirm(f"{n}-{k}") for k in range(700)])) for n in range(2)]
    await settle()
    gate.open.set()
    await asyncio.gather(busy, *big)
    assert [len(batch) for batch in gate.batches] == [1, 700, 700]


async def test_prepares_are_shed_first_when_too_much_waits() -> None:
    gate = Gate()
    gathers = gatherer(gate, queue_max=10)
    busy = asyncio.create_task(gathers.apply([confirm("x")]))
    await settle()
    waiting = asyncio.create_task(gathers.apply([confirm(str(n)) for n in range(5)]))
    await settle()
    with pytest.raises(Overloaded):
        await gathers.prepare([make_prepare(make_world(), 1)])
    more = asyncio.create_task(gathers.apply([confirm("y")]))
    await settle()
    with pytest.raises(Overloaded):
        await gathers.apply([confirm(f"z{n}") for n in range(5)])
    gate.open.set()
    await asyncio.gather(busy, waiting, more)
