"""Callers of one client, threads or tasks, with a service behind a gate that the test opens."""

import asyncio
from typing import Any

from aftercommit.sdk import (
    Client,
)
from aftercommit.sdk.clients.exchange import NoAnswer
from tests.sdk.answering import AsyncGate, Gate, MemoryService, refused

LOST = NoAnswer("the connection was lost", perhaps_received=True)


TOO_LARGE = refused(413, "payload_too_large")


HANGING_SECONDS = 8


class Crowd:
    """Callers of one client, threads or tasks, and the service behind its gate."""

    def __init__(self, kind, **options):
        self.service = MemoryService()
        self.is_blocking = kind is Client
        self.gate = (Gate if self.is_blocking else AsyncGate)(self.service)
        self.slept: list[float] = []
        sleep = self.slept.append if self.is_blocking else self._sleep
        self.client = kind(transport=self.gate, sleep=sleep, **options)

    def call(self, method, *arguments, **named):
        """A task in which one caller calls."""
        bound = getattr(self.client, method)
        if self.is_blocking:
            return asyncio.ensure_future(asyncio.to_thread(bound, *arguments, **named))
        return asyncio.create_task(bound(*arguments, **named))

    async def confirm_while_one_is_under_way(self, *ids):
        """The first caller's request stands at the gate; the others, one after the other, queue behind it."""
        return [await self.joined("confirm", each) for each in ids]

    async def joined(self, method, *arguments, **named):
        """A call, when its caller is in the queue or at the gate."""
        before = COUNTED["joins"]
        task = self.call(method, *arguments, **named)
        await until(lambda: COUNTED["joins"] > before)
        return task

    async def _sleep(self, seconds):
        self.slept.append(seconds)


COUNTED = {"joins": 0}


async def until(condition):
    """Give way until it is so."""
    async with asyncio.timeout(HANGING_SECONDS):
        while not condition():  # noqa: ASYNC110 - threads and tasks are watched alike
            await asyncio.sleep(0)


async def ends(*calls) -> list[Any]:
    """Answers and errors, as values."""
    async with asyncio.timeout(HANGING_SECONDS):
        return await asyncio.gather(*calls, return_exceptions=True)


async def answers(*calls) -> list[Any]:
    """Answers; the first error is raised. Whoever is forgotten makes the test fail, and not hang."""
    async with asyncio.timeout(HANGING_SECONDS):
        return await asyncio.gather(*calls)


def batch(*ids, verb="confirm"):
    return (verb, list(ids))


def single(message_id, verb="confirm"):
    return (f"1 {verb}", [message_id])
