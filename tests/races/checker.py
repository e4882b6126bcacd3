"""A node's part of a race: a process that asks the barrier about messages and applies the first definitive answer."""

import asyncio
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from aftercommit.sdk.barrier.barrier import AsyncBarrier, Barrier
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.errors import Unreachable
from aftercommit.wire import Check
from tests.races.journal import Journal
from tests.races.service import LedgerService
from tests.races.shops import Shop

_IDLE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks until SIGTERM, in threads or tasks."""

    name: str
    seed: str
    shop: Shop
    journal: Journal
    ledger_port: int
    workers: int

    def run(self) -> None:
        """Ask, check, answer."""
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        if not self.shop.blocking:
            asyncio.run(self._together(stopped))
            return
        threads = [
            threading.Thread(target=lambda number=number: run_now(self._work(number, stopped)))
            for number in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)

    async def _together(self, stopped: threading.Event) -> None:
        await asyncio.gather(*(self._work(number, stopped) for number in range(self.workers)))

    async def _work(self, number: int, stopped: threading.Event) -> None:
        chance = Random(f"{self.seed}/{number}")
        service = LedgerService(self.ledger_port, blocking=self.shop.blocking)
        questions = 0
        while not stopped.is_set():
            try:
                due = await service.due(chance.choice((1, 1, 2, 4)))
                # Some time passes between the question and its being asked here.
                await self.shop.pause(chance.uniform(0.0, 0.012))
                if due:
                    questions += 1
                    await service.answer(await self._check(due, f"{number}.{questions}"))
                else:
                    await self.shop.pause(_IDLE_SECONDS)
            except Unreachable as error:
                self.journal.write("unheard", detail=str(error))

    async def _check(self, message_ids: Sequence[str], question: str) -> dict[str, str]:
        checks = [
            Check(id=each, topic="orders.created", key=None, hint=None, prepared_at="", check=1) for each in message_ids
        ]
        question = f"{self.name}/{question}"
        self.journal.write("asked", question=question, ids=list(message_ids))
        if self.shop.blocking:
            outcomes = Barrier(self.shop.source).check(checks)
        else:
            outcomes = await AsyncBarrier(self.shop.source).check(checks)
        answers = {message_id: outcome.value for message_id, outcome in outcomes.items()}
        self.journal.write("answered", question=question, answers=answers)
        return answers
