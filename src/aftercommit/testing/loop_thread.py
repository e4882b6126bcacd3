"""An event loop in a thread of its own, which knows when it has nothing left to do."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads, from `start` to `stop`. A daemon: it never keeps the program from ending."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def running(self) -> bool:
        """Whether it takes work."""
        return self._loop is not None

    def start(self) -> None:
        """Start the thread; returns when the loop runs. Once in its life."""
        self._thread.start()
        self._started.wait()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run `work` on the loop. Raises RuntimeError when the loop is not there (any more)."""
        loop = self._loop
        if loop is None:
            work.close()
            raise RuntimeError("The loop of this thread does not run.")
        return asyncio.run_coroutine_threadsafe(work, loop)

    def stop(self) -> None:
        """End the loop and the thread. What still runs is cancelled. Does nothing if it was stopped already."""
        loop, stopping = self._loop, self._stopping
        self._loop = None
        if loop is not None and stopping is not None:
            loop.call_soon_threadsafe(stopping.set)
            self._thread.join()

    async def quiet(self) -> None:
        """On the loop itself: return once every other task waits for time, for input, or for other threads."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._until_stopped())

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_QuietSelector(self._tell_quiet))

    async def _until_stopped(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._stopping.wait()

    def _tell_quiet(self) -> bool:
        told, self._waiting = self._waiting, []
        for each in told:
            if not each.done():
                each.set_result(None)
        return bool(told)


class _QuietSelector(selectors.DefaultSelector):
    """Says so whenever the loop is about to wait: asyncio asks for a time-out of 0 as long as anything can go on.

    Exact, where giving way some number of times would be a guess.
    """

    def __init__(self, tell_quiet: Callable[[], bool]) -> None:
        super().__init__()
        self._tell_quiet = tell_quiet

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for input, unless somebody waited for quiet: then that one goes on first."""
        if (timeout is None or timeout > 0) and self._tell_quiet():
            timeout = 0
        return super().select(timeout)
