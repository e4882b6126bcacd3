"""Check-back for initiators that cannot be called: they fetch the questions, decide, and report.

A check counts as asked once it was handed out, so each one is answered, `unknown` where an error left it open.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.checkback.responder import CheckResponder, results_of
from aftercommit.sdk.checkback.verdicts import Answers, Verdicts
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.errors import AfterCommitClientError, Refused, Unavailable
from aftercommit.wire import Check, CheckResult

# The service holds an empty pull for this long; so long may a stop have to wait, for what was handed out is answered.
WAIT_SECONDS: Final = 2.0
STOP_SECONDS: Final = 10.0
_PAUSE_FIRST_SECONDS: Final = 0.2
_PAUSE_MAX_SECONDS: Final = 10.0

_log: Final = logging.getLogger("aftercommit.checkback")


class ChecksCalls(Protocol):
    """What is used of a `Client`."""

    def pull_checks(self, app: str, *, wait_seconds: float) -> list[Check]: ...
    def answer_checks(self, app: str, results: Sequence[CheckResult]) -> list[BatchResult]: ...


class AsyncChecksCalls(Protocol):
    """What is used of an `AsyncClient`."""

    async def pull_checks(self, app: str, *, wait_seconds: float) -> list[Check]: ...
    async def answer_checks(self, app: str, results: Sequence[CheckResult]) -> list[BatchResult]: ...


class _Pulling:
    """The work of both responders, over a client and a sleep that are awaitable in form."""

    def __init__(
        self,
        client: AsyncChecksCalls,
        app: str,
        *,
        decide: Callable[[Sequence[Check]], Awaitable[dict[str, Outcome]]],
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._client = client
        self._app = app
        self._decide = decide
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        self._errors = 0
        # What was decided and not heard: it is final, and is reported before anything else is asked for.
        self._unheard: list[CheckResult] = []

    async def once(self, wait_seconds: float) -> int:
        if self._unheard:
            await self._report(self._unheard)
        checks = await self._client.pull_checks(self._app, wait_seconds=wait_seconds)
        if checks:
            await self._report(results_of(await self._decide(checks)))
        return len(checks)

    async def serve(self, stopping: Callable[[], bool]) -> None:
        while not stopping():
            began = self._clock()
            try:
                count = await self.once(WAIT_SECONDS)
            except Exception as error:
                pause = self._after_error(error)
            else:
                pause = self._after_pull(count, self._clock() - began)
            if pause:
                await self._sleep(pause)

    async def _report(self, results: list[CheckResult]) -> None:
        self._unheard = [each for each in results if each.outcome != Outcome.UNKNOWN]
        try:
            answers = await self._client.answer_checks(self._app, results)
        except Refused:
            # It would be refused again; the service asks again about what it wants to know.
            self._unheard = []
            raise
        self._unheard = []
        for result, answer in zip(results, answers, strict=True):
            if answer.error is not None:
                _log.warning("The answer %s on message %s was refused: %s", result.outcome, result.id, answer.error)

    def _after_pull(self, count: int, took_seconds: float) -> float:
        """The pause after a pull that went well. An empty one that was answered at once must not become a storm."""
        if self._errors:
            _log.info("Checks of %s are pulled again.", self._app)
        self._errors = 0
        return 0.0 if count or took_seconds >= WAIT_SECONDS / 2 else _PAUSE_FIRST_SECONDS * (0.5 + self._chance())

    def _after_error(self, error: Exception) -> float:
        """The pause after one that failed, which is logged: doubling, from half to all of it by chance."""
        trace = None if isinstance(error, AfterCommitClientError) else error
        _log.warning("Checks of %s could not be pulled and answered: %s", self._app, error, exc_info=trace)
        longest = min(_PAUSE_FIRST_SECONDS * 2.0**self._errors, _PAUSE_MAX_SECONDS)
        self._errors = min(self._errors + 1, 30)
        pause = longest * (0.5 + 0.5 * self._chance())
        asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
        return pause if asked is None else max(pause, asked * (1 + 0.2 * self._chance()))


class PullResponder:
    """Fetches and answers checks with a blocking `Client`, in the caller's thread (`run`) or in its own (`start`).

    responder = PullResponder(client, Barrier(engine), app="orders")
    responder.start()
    ...
    responder.stop()
    """

    def __init__(
        self,
        client: ChecksCalls,
        responder: CheckResponder | Answers,
        *,
        app: str,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`responder`: a barrier, or a `CheckResponder` for its rules. `sleep`, `clock`, `chance`: for tests.

        Raises TypeError if the barrier or a rule is awaitable.
        """
        verdicts = _verdicts_of(responder)
        verdicts.require_blocking("A PullResponder")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        pause = sleep or self._until_stopped

        async def decide(checks: Sequence[Check]) -> dict[str, Outcome]:
            return verdicts.decide_blocking(checks)

        async def sleep_now(seconds: float) -> None:
            pause(seconds)

        self._pulling = _Pulling(_Blocking(client), app, decide=decide, sleep=sleep_now, clock=clock, chance=chance)

    def run_once(self, wait_seconds: float = 0) -> int:
        """Answer the checks that are due, at most 100, waiting up to 30 s for the first; returns how many.

        Raises the client's errors. What was decided and could not be reported is reported by the next run. Not for two
        threads at a time.

            while responder.run_once(): ...
        """
        return run_now(self._pulling.once(wait_seconds))

    def run(self) -> None:
        """Answer checks until `stop`. Errors are logged and outlived, with longer and longer pauses."""
        run_now(self._pulling.serve(self._stopping.is_set))

    def start(self) -> None:
        """`run` in a daemon thread. Does nothing if that runs already."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(target=self.run, name="aftercommit checks", daemon=True)
                self._thread.start()

    def stop(self, within_seconds: float = STOP_SECONDS) -> bool:
        """Pull no more, and wait for the thread that `start` made; whether it has ended. May be called twice."""
        self._stopping.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(within_seconds)
        return not thread.is_alive()

    def _until_stopped(self, seconds: float) -> None:
        self._stopping.wait(seconds)


class AsyncPullResponder:
    """The same with an `AsyncClient`; what blocks in a barrier or a rule runs in a thread.

    responder = AsyncPullResponder(client, AsyncBarrier(engine), app="orders")
    task = asyncio.create_task(responder.run())
    ...
    responder.stop()
    await task
    """

    def __init__(
        self,
        client: AsyncChecksCalls,
        responder: CheckResponder | Answers,
        *,
        app: str,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Arguments are those of `PullResponder`."""
        self._stopping = asyncio.Event()
        self._pulling = _Pulling(
            client,
            app,
            decide=_verdicts_of(responder).decide,
            sleep=sleep or self._until_stopped,
            clock=clock,
            chance=chance,
        )

    async def run_once(self, wait_seconds: float = 0) -> int:
        """Answer the checks that are due; returns how many.

        while await responder.run_once(): ...
        """
        return await self._pulling.once(wait_seconds)

    async def run(self) -> None:
        """Answer checks until `stop`."""
        await self._pulling.serve(self._stopping.is_set)

    def stop(self) -> None:
        """Pull no more; `run` ends once its last pull was answered. To be called in the loop of `run`."""
        self._stopping.set()

    async def _until_stopped(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


class _Blocking:
    """A blocking client, awaitable in form."""

    def __init__(self, client: ChecksCalls) -> None:
        self._client = client

    async def pull_checks(self, app: str, *, wait_seconds: float) -> list[Check]:
        return self._client.pull_checks(app, wait_seconds=wait_seconds)

    async def answer_checks(self, app: str, results: Sequence[CheckResult]) -> list[BatchResult]:
        return self._client.answer_checks(app, results)


def _verdicts_of(responder: Any) -> Verdicts:
    return responder.verdicts if isinstance(responder, CheckResponder) else Verdicts(responder)
