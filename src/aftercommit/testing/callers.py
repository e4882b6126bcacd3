"""Threads and tasks of the test that wait for the service, and meanwhile run the test's own code where it belongs.

The service lives on a loop of its own, but the user's code (answering a check) must run in the thread, and for asyncio
on the loop, of the test: connections and transactions belong to these. So it is left as an errand, which whoever waits
for the service runs.
"""

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from aftercommit.sdk.blocking import run_now
from aftercommit.testing.loop_thread import LoopThread

T = TypeVar("T")

_on_an_errand: ContextVar[bool] = ContextVar("aftercommit_on_an_errand", default=False)


class Dropped(Exception):
    """Nobody ran the errand to its end: the test, or the service, ended first."""


class Errand:
    """A call of the user's code, wanted by the service's loop."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self._loop.create_future()

    async def run(self, drive: Callable[[Any], Awaitable[Any]]) -> None:
        """Run it in the present thread and send the answer. What is no Exception ends the runner as well."""
        token = _on_an_errand.set(True)
        try:
            result = await drive(self._work())
        except Exception as error:
            self.give(error=error)
        except BaseException:
            self.give(error=Dropped("The test was ended while it ran."))
            raise
        else:
            self.give(result)
        finally:
            _on_an_errand.reset(token)

    def give(self, result: Any = None, error: Exception | None = None) -> None:
        """Send the answer to the loop that waits for it."""
        self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class Errands:
    """Those that wait for somebody to run them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Errand] = deque()
        self._bells: list[Callable[[], None]] = []
        self._under_way: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def send(self, work: Callable[[], Any]) -> Any:
        """On the service's loop: have `work` run by who waits, now or later; its result, or what it raised."""
        errand = Errand(work)
        with self._lock:
            if self._closed:
                raise Dropped("The test is over.")
            self._waiting.append(errand)
            bells = list(self._bells)
        self._under_way.add(errand.answer)
        for ring in bells:
            ring()
        try:
            return await errand.answer
        finally:
            self._under_way.discard(errand.answer)

    async def answered(self) -> bool:
        """On the service's loop: False if none is under way, else True after one was answered."""
        if not self._under_way:
            return False
        await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        return True

    def take(self) -> Errand | None:
        """The next one, if there is one."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    @contextmanager
    def told_by(self, ring: Callable[[], None]) -> Iterator[None]:
        """Ring whenever there is a new one."""
        with self._lock:
            self._bells.append(ring)
        try:
            yield
        finally:
            with self._lock:
                self._bells.remove(ring)

    def close(self) -> None:
        """Nobody will run any more: those that wait are dropped."""
        with self._lock:
            self._closed = True
            dropped, self._waiting = list(self._waiting), deque()
        for each in dropped:
            each.give(error=Dropped("The test ended before it could be run."))


class Caller(Protocol):
    """How the present thread or task waits. Methods of the blocking one never suspend (see `sdk.blocking`)."""

    async def result_of(self, work: Coroutine[Any, Any, T], *, errands: bool = False) -> T:
        """Run `work` on the service's loop; raises what it raises. With `errands`, run those here meanwhile.

        Only who moves time runs errands, so that no other thread of the test finds itself answering checks.
        """

    async def drive(self, value: Any) -> Any:
        """What the user's code returned; awaited, if it is to be."""


class BlockingCaller:
    """Waits by holding its thread."""

    def __init__(self, thread: LoopThread, errands: Errands) -> None:
        self._thread = thread
        self._errands = errands

    async def result_of(self, work: Coroutine[Any, Any, T], *, errands: bool = False) -> T:
        """Run `work` there, and errands in this thread."""
        bell = threading.Event()
        with self._errands.told_by(bell.set):
            future = self._thread.submit(work)
            future.add_done_callback(lambda _: bell.set())
            while not future.done():
                bell.clear()
                if errands and (errand := self._errands.take()):
                    await errand.run(self.drive)
                elif not future.done():
                    bell.wait()
        return future.result()

    async def drive(self, value: Any) -> Any:
        """Awaitables get a loop for themselves. Raises RuntimeError if they need the one that this call holds up."""
        if not inspect.isawaitable(value):
            return value
        if _loop_is_running():
            return run_now(_awaited(value))
        return asyncio.run(_awaited(value))


class AsyncCaller:
    """Waits as a task of the loop it is called on."""

    def __init__(self, thread: LoopThread, errands: Errands) -> None:
        self._thread = thread
        self._errands = errands

    async def result_of(self, work: Coroutine[Any, Any, T], *, errands: bool = False) -> T:
        """Run `work` there, and errands on this loop. A caller that is cancelled leaves the work going on."""
        loop, bell = asyncio.get_running_loop(), asyncio.Event()

        def ring() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(bell.set)

        with self._errands.told_by(ring):
            future = self._thread.submit(work)
            future.add_done_callback(lambda _: ring())
            while not future.done():
                bell.clear()
                if errands and (errand := self._errands.take()):
                    await errand.run(self.drive)
                elif not future.done():
                    await bell.wait()
        return future.result()

    async def drive(self, value: Any) -> Any:
        """Awaitables are awaited."""
        return await value if inspect.isawaitable(value) else value


def require_no_errand(what: str) -> None:
    """Raises RuntimeError within the user's answer to a check: the service waits for that one."""
    if _on_an_errand.get():
        raise RuntimeError(f"{what} cannot be done while a check is being answered: the service waits for the answer.")


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _awaited(value: Awaitable[T]) -> T:
    return await value
