"""Confirms that nobody waits for: after COMMIT the decision stands, and check-back would make the same."""

import asyncio
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

_log = logging.getLogger("aftercommit.transaction")
_CLOSE_SECONDS: Final = 5.0
# What waits beyond this is left to check-back: memory is bounded, whatever the service does.
_WAITING_MAX: Final = 10_000


class BackgroundConfirms:
    """One daemon thread, started by the first confirm. What gathers while one call is under way goes with the next."""

    def __init__(self, confirm: Callable[[Sequence[str]], None]) -> None:
        self._confirm = confirm
        self._waiting: queue.Queue[Sequence[str] | None] = queue.Queue(_WAITING_MAX)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, message_ids: Sequence[str]) -> None:
        """Take the ids; returns at once."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                # Also after a fork, which takes no threads along.
                self._thread = threading.Thread(target=self._run, name="aftercommit-confirms", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:
                    # The process is ending, or has no room for threads; the transaction has committed all the same.
                    self._thread = None
                    _log.warning("%d confirms are left to check-back: %s", len(message_ids), error)
                    return
        try:
            self._waiting.put_nowait(message_ids)
        except queue.Full:
            _log.warning("Too many confirms are waiting; %d more are left to check-back.", len(message_ids))

    def close(self) -> None:
        """Confirm what waits, for up to 5 s; the rest is left to check-back. May be called twice."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None or not thread.is_alive():
            # After a fork; an end that nobody takes would stop the next thread at its start.
            return
        try:
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
        except queue.Full:
            _log.warning("The confirms that wait are left to check-back: the service has not answered for some time.")
            return
        thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            gathered, ending = [*first], False
            while not self._waiting.empty() and not ending:
                more = self._waiting.get()
                ending = more is None
                gathered += more or ()
            self._confirm(gathered)
            if ending:
                return


class AsyncBackgroundConfirms:
    """The same as a task of the running loop."""

    def __init__(self, confirm: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self._confirm = confirm
        self._waiting: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def __call__(self, message_ids: Sequence[str]) -> None:
        """Take the ids; returns at once."""
        if len(self._waiting) >= _WAITING_MAX:
            _log.warning("Too many confirms are waiting; %d more are left to check-back.", len(message_ids))
            return
        self._waiting += message_ids
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Confirm what waits, for up to 5 s; the rest is left to check-back. May be called twice."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)

    async def _run(self) -> None:
        while self._waiting:
            gathered, self._waiting = self._waiting, []
            await self._confirm(gathered)
