"""The same with threads: one that pulls for each subscription, and for each handler as many as may run at a time."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, Protocol, TypeAlias

from aftercommit.sdk.consumer.handlers import Registered
from aftercommit.sdk.consumer.pace import POLL_SECONDS, PULL_MAX, Pace, require_some
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.messages import PulledMessage

_log: Final = logging.getLogger("aftercommit.consumer")

Sleep: TypeAlias = Callable[[float], None]


class Pull(Protocol):
    """`Client.pull`."""

    def __call__(self, topic: str, subscription: str, max: int, wait_seconds: float) -> list[PulledMessage]: ...  # noqa: A002 - the protocol's word


class Pulling:
    """The pull loops of one `Consumer`, each a thread."""

    def __init__(
        self,
        pull: Pull,
        receive: Callable[[PulledMessage, Registered[Any]], Receipt],
        *,
        sleep: Sleep | None,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._pull = pull
        self._receive = receive
        self._sleep = sleep or self._until_stopped
        self._clock = clock
        self._chance = chance
        self._stopping = threading.Event()

    def run(self, handlers: Sequence[Registered[Any]], grace_seconds: float) -> int:
        """Pull until stopped; how many handlers still run after the grace: a thread cannot be interrupted."""
        require_some(handlers)
        lines = [_Line(self, each) for each in handlers]
        try:
            for each in lines:
                each.start()
            self._stopping.wait()
        finally:
            self._stopping.set()
            until = time.monotonic() + grace_seconds
            left = [future for each in lines for future in each.end(until)]
            unfinished = wait(left, timeout=max(until - time.monotonic(), 0)).not_done
            self._stopping = threading.Event()
        if unfinished:
            _log.warning("%s handlers still run after a grace of %s s.", len(unfinished), grace_seconds)
        return len(unfinished)

    def stop(self) -> None:
        """Pull no more."""
        self._stopping.set()

    def serve(
        self, handler: Registered[Any], free: threading.Semaphore, submit: Callable[[PulledMessage], None]
    ) -> None:
        """Pull for one handler: one place is taken before each pull, further ones if they are free."""
        pace, stopping = Pace(handler, self._chance), self._stopping
        while not stopping.is_set():
            if not free.acquire(timeout=POLL_SECONDS):
                continue
            if stopping.is_set():
                # The place became free by what the stop waited for.
                return
            places = 1
            while places < min(handler.concurrency, PULL_MAX) and free.acquire(blocking=False):
                places += 1
            began = self._clock()
            messages: list[PulledMessage] = []
            try:
                messages = self._pull(handler.topic, handler.subscription, max=places, wait_seconds=POLL_SECONDS)
                pause = pace.after_pull(len(messages), self._clock() - began)
            except Exception as error:
                pause = pace.after_error(error)
            for _ in range(places - len(messages)):
                free.release()
            for each in messages:
                submit(each)
            if pause:
                self._sleep(pause)

    def received(self, message: PulledMessage, handler: Registered[Any]) -> Receipt:
        """Bring one message to its handler."""
        try:
            return self._receive(message, handler)
        except Exception:
            _log.exception("Message %s could not be received.", message.id)
            return Receipt.RETRY_LATER

    def _until_stopped(self, seconds: float) -> None:
        self._stopping.wait(seconds)


class _Line:
    """One handler's puller and its threads."""

    def __init__(self, pulling: Pulling, handler: Registered[Any]) -> None:
        self._pulling = pulling
        self._handler = handler
        self._free = threading.BoundedSemaphore(handler.concurrency)
        self._threads = ThreadPoolExecutor(handler.concurrency, thread_name_prefix=f"handle {handler.topic}")
        self._lock = threading.Lock()
        self._running: set[Future[Receipt]] = set()
        self._puller = threading.Thread(target=self._serve, name=f"pull {handler.topic}", daemon=True)

    def start(self) -> None:
        """Begin to pull."""
        self._puller.start()

    def end(self, until: float) -> list[Future[Receipt]]:
        """Wait until nothing is pulled any more; what still runs."""
        if self._puller.ident is not None:
            self._puller.join(max(until - time.monotonic(), 0))
        self._threads.shutdown(wait=False)
        with self._lock:
            return list(self._running)

    def _serve(self) -> None:
        self._pulling.serve(self._handler, self._free, self._submit)

    def _submit(self, message: PulledMessage) -> None:
        try:
            future = self._threads.submit(self._pulling.received, message, self._handler)
        except RuntimeError:
            # Its pull was answered after the grace: the threads are gone.
            _log.warning("Message %s was pulled too late, and comes again.", message.id)
            self._free.release()
            return
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._done)

    def _done(self, future: Future[Receipt]) -> None:
        with self._lock:
            self._running.discard(future)
        self._free.release()
        if error := future.exception():
            _log.error("A handler ended its thread; its message comes again.", exc_info=error)
