"""Pulling from the built-in broker with tasks: never more than there is room for, through all errors, until stopped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Protocol, TypeAlias

from aftercommit.sdk.consumer.handlers import Registered
from aftercommit.sdk.consumer.pace import POLL_SECONDS, PULL_MAX, Pace, require_some
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.messages import PulledMessage

_log: Final = logging.getLogger("aftercommit.consumer")

AsyncSleep: TypeAlias = Callable[[float], Awaitable[None]]


class AsyncPull(Protocol):
    """`AsyncClient.pull`."""

    async def __call__(self, topic: str, subscription: str, max: int, wait_seconds: float) -> list[PulledMessage]: ...  # noqa: A002 - the protocol's word


class AsyncPulling:
    """The pull loops of one `AsyncConsumer`."""

    def __init__(
        self,
        pull: AsyncPull,
        receive: Callable[[PulledMessage, Registered[Any]], Awaitable[Receipt]],
        *,
        sleep: AsyncSleep | None,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._pull = pull
        self._receive = receive
        self._sleep = sleep or self._until_stopped
        self._clock = clock
        self._chance = chance
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[Receipt]] = set()

    async def run(self, handlers: Sequence[Registered[Any]], grace_seconds: float) -> int:
        """Pull until stopped; how many handlers had to be cancelled after the grace."""
        require_some(handlers)
        stopped = asyncio.create_task(self._stopping.wait())
        loops = [asyncio.create_task(self._serve(each, stopped), name=f"pull {each.topic}") for each in handlers]
        try:
            await stopped
            until = asyncio.get_running_loop().time() + grace_seconds
            # They end by themselves, each when its pull was answered, and may have started handlers until then.
            await _wait(loops, until)
            await _wait(self._running, until)
            return len(self._running)
        finally:
            # For the next run, which may be on another loop.
            self._stopping = asyncio.Event()
            await _cancel([stopped, *loops])
            for each in self._running:
                _log.warning("Cancelled and rolled back, to come again: %s", each.get_name())
            await _cancel(list(self._running))

    def stop(self) -> None:
        """Pull no more."""
        self._stopping.set()

    async def _serve(self, handler: Registered[Any], stopped: asyncio.Task[Any]) -> None:
        pace, running = Pace(handler, self._chance), set[asyncio.Task[Receipt]]()
        while not stopped.done() and not self._stopping.is_set():
            running = {each for each in running if not each.done()}
            free = min(handler.concurrency - len(running), PULL_MAX)
            if not free:
                await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
                continue
            began = self._clock()
            try:
                messages = await self._pull(handler.topic, handler.subscription, max=free, wait_seconds=POLL_SECONDS)
            except Exception as error:
                pause = pace.after_error(error)
            else:
                running.update(self._start(each, handler) for each in messages)
                pause = pace.after_pull(len(messages), self._clock() - began)
            if pause:
                await self._sleep(pause)

    def _start(self, message: PulledMessage, handler: Registered[Any]) -> asyncio.Task[Receipt]:
        task = asyncio.create_task(self._received(message, handler), name=f"handle {message.id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _received(self, message: PulledMessage, handler: Registered[Any]) -> Receipt:
        try:
            return await self._receive(message, handler)
        except Exception:
            # The inbox answers for the handler; this is a bug of ours, and the message comes again.
            _log.exception("Message %s could not be received.", message.id)
            return Receipt.RETRY_LATER

    async def _until_stopped(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


async def _wait(tasks: Collection[asyncio.Task[Any]], until: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=max(until - asyncio.get_running_loop().time(), 0))


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
