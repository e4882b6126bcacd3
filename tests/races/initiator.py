"""A process that does units of work, many at once, through the SDK's transactions, until it is stopped or killed."""

import asyncio
import signal
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import handle_of
from aftercommit.sdk.service import Service
from aftercommit.sdk.transactions.points import Point, Probe, no_probe
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction, handle_for
from aftercommit.sdk.transactions.transaction_errors import CommitUncertain, NotPrepared, RuledOut, TransactionEnded
from aftercommit.sdk.transactions.unit import Unit
from tests.races.journal import Journal
from tests.races.plan import Plan, Planned, think_seconds
from tests.races.shops import Shop, is_of_a_database

TOPIC: Final = "orders.created"
_RETRIED_SHARE: Final = 0.85
_SLOW_COMMIT_SHARE: Final = 0.25
_SLOW_COMMIT_SECONDS_MAX: Final = 0.03
_SAID: Final = {
    RuledOut: "ruled_out",
    NotPrepared: "not_prepared",
    CommitUncertain: "uncertain",
    TransactionEnded: "ended",
}


class ChangedItsMind(Exception):
    """The code of a unit raises."""


class _Undone(Exception):
    """The code inside a savepoint raises."""


@dataclass(frozen=True, slots=True)
class Initiator:
    """`serve`: makes the service of one worker. `name`: no other process of the campaign has it. `pace`: see `Role`."""

    name: str
    seed: str
    shop: Shop
    journal: Journal
    serve: Callable[[], Service]
    workers: int
    pace: float

    def run(self) -> None:
        """Work in threads or tasks until SIGTERM; what is begun then is finished."""
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        workers = [_Worker(self, number, stopped) for number in range(self.workers)]
        if not self.shop.blocking:
            asyncio.run(_together(workers))
            return
        threads = [threading.Thread(target=lambda each=each: run_now(each.work())) for each in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            # Joined in slices, so that the signal is heard.
            while thread.is_alive():
                thread.join(0.1)


async def _together(workers: "list[_Worker]") -> None:
    await asyncio.gather(*(each.work() for each in workers))


class _Worker:
    """One thread's or task's part of an initiator."""

    def __init__(self, of: Initiator, number: int, stopped: threading.Event) -> None:
        self._name = f"{of.name}.{number}"
        self._chance = Random(f"{of.seed}/{number}")
        self._shop = of.shop
        self._journal = of.journal
        self._service = of.serve()
        self._pace = of.pace
        self._stopped = stopped
        self._runs = 0

    async def work(self) -> None:
        units = 0
        while not self._stopped.is_set():
            units += 1
            await self._unit(f"{self._name}.{units}")

    async def _unit(self, name: str) -> None:
        plan, unit = Plan.drawn(self._chance), Unit()
        for number in range(plan.runs_max):
            self._runs += 1
            run = f"{self._name}:{self._runs}"
            self._journal.write("began", unit=name, run=run, number=number)
            said, detail = await self._try(plan, unit, name, run, number)
            self._journal.write("ended", run=run, said=said, detail=detail)
            if said in ("committed", "already_done", "broken") or self._chance.random() > _RETRIED_SHARE:
                return
            await self._think()

    async def _try(self, plan: Plan, unit: Unit, name: str, run: str, number: int) -> tuple[str, str]:
        try:
            return ("already_done" if await self._run(plan, unit, name, run, number) else "committed"), ""
        except tuple(_SAID) as error:
            return _SAID[type(error)], str(error.__cause__)[:200]
        except ChangedItsMind:
            return "raised", ""
        except Exception as error:
            if is_of_a_database(error):
                return "refused", repr(error)[:200]
            # A fault of the SDK or of ours: the campaign fails because of it.
            return "broken", traceback.format_exc()[-2000:]

    async def _run(self, plan: Plan, unit: Unit, name: str, run: str, number: int) -> bool:
        payload = {"unit": name, "run": run if plan.renumbers else ""}
        async with self._shop.open() as target:
            transaction = self._transaction(target, unit)

            def publish() -> str:
                message_id = transaction.publish(TOPIC, payload)
                self._journal.write("published", run=run, id=message_id)
                return message_id

            early = [publish() for each in plan.messages if each.early]
            await self._think()
            async with _entered(transaction):
                for message_id in early:
                    await self._effect(target, message_id, name, run)
                await self._think()
                for item in plan.takes:
                    await handle_of(target).execute("UPDATE stock SET taken = taken + 1 WHERE item = ?", [item])
                    await self._think()
                for each in plan.messages:
                    if not each.early:
                        await self._late(each, transaction, target, publish, name, run)
                if number in plan.raises_in:
                    raise ChangedItsMind
            return transaction.already_done

    async def _late(
        self, each: Planned, transaction: Any, target: Any, publish: Callable[[], str], name: str, run: str
    ) -> None:
        if not each.savepoint:
            await self._effect(target, publish(), name, run)
            await self._think()
            return
        message_id = ""
        try:
            async with _nested(transaction, target):
                message_id = publish()
                await self._effect(target, message_id, name, run)
                await self._think()
                if each.undone:
                    raise _Undone
        except _Undone:
            self._journal.write("undone", run=run, id=message_id)

    async def _effect(self, target: Any, message_id: str, name: str, run: str) -> None:
        statement = "INSERT INTO effects (message_id, unit, run) VALUES (?, ?, ?)"
        await handle_of(target).execute(statement, [message_id, name, run])

    async def _think(self) -> None:
        seconds = think_seconds(self._chance) * self._pace
        if seconds:
            await self._shop.pause(seconds)

    def _transaction(self, target: Any, unit: Unit) -> Transaction | AsyncTransaction:
        handle = handle_for(target, blocking=self._shop.blocking)
        kind = Transaction if self._shop.blocking else AsyncTransaction
        return kind(self._service, handle, unit=unit, probe=self._probe())

    def _probe(self) -> Probe:
        if not self._shop.blocking:
            # A probe cannot be awaited; there the proxy and the ledger take their time instead.
            return no_probe

        def dawdle(point: Point) -> None:
            if point is Point.BEFORE_COMMIT and self._chance.random() < _SLOW_COMMIT_SHARE:
                run_now(self._shop.pause(self._chance.uniform(0.0, _SLOW_COMMIT_SECONDS_MAX)))

        return dawdle


@asynccontextmanager
async def _entered(transaction: Transaction | AsyncTransaction) -> AsyncIterator[None]:
    if isinstance(transaction, Transaction):
        with transaction:
            yield
    else:
        async with transaction:
            yield


@asynccontextmanager
async def _nested(transaction: Any, target: Any) -> AsyncIterator[None]:
    """A savepoint, the way this session's or connection's users make one."""
    block: Any = target.begin_nested() if hasattr(target, "begin_nested") else transaction.savepoint()
    if isinstance(block, AbstractAsyncContextManager) or hasattr(block, "__aenter__"):
        async with block:
            yield
    else:
        with block:
            yield
