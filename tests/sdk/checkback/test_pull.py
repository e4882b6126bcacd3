"""Pulling checks: everything handed out is answered, and no error of anybody's ends it."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.checkback.pull import WAIT_SECONDS, AsyncPullResponder, PullResponder
from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.errors import Conflict, Denied, Unavailable, Unreachable
from aftercommit.wire import Check, CheckResult
from tests.sdk.checkback.asking import ONE, THREE, TWO, Awaited, Known, asked_about

UNAVAILABLE = Unavailable("unavailable", "The database cannot be used.", retry_after_seconds=7)
UNREACHABLE = Unreachable("No answer.", perhaps_received=True, repeatable=True)
DENIED = Denied("forbidden", "This key may not do this.", status=403)


class Service:
    """Hands out and hears what a test says; at the end of it, the responder is stopped.

    `pulls`: checks, or an error, for one pull each. `hearings`: None, or an error, for one answer each.
    """

    def __init__(self, *pulls: list[Check] | Exception, hearings: Sequence[Exception | None] = ()) -> None:
        self.pulls = list(pulls)
        self.hearings = list(hearings)
        self.heard: list[dict[str, str]] = []
        self.waits: list[float] = []
        self.stop: Callable[[], Any] = lambda: None
        self.refuse: dict[str, Conflict] = {}

    def pull_checks(self, app: str, *, wait_seconds: float) -> list[Check]:
        assert app == "orders"
        self.waits.append(wait_seconds)
        said = self.pulls.pop(0) if self.pulls else []
        if not self.pulls:
            self.stop()
        if isinstance(said, Exception):
            raise said
        return said

    def answer_checks(self, app: str, results: Sequence[CheckResult]) -> list[BatchResult]:
        assert app == "orders"
        error = self.hearings.pop(0) if self.hearings else None
        if error is not None:
            raise error
        self.heard.append({each.id: each.outcome for each in results})
        return [BatchResult(each.id, error=self.refuse.get(each.id)) for each in results]


class AwaitedService:
    """The same, awaitable."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def pull_checks(self, app: str, *, wait_seconds: float) -> list[Check]:
        return self.service.pull_checks(app, wait_seconds=wait_seconds)

    async def answer_checks(self, app: str, results: Sequence[CheckResult]) -> list[BatchResult]:
        return self.service.answer_checks(app, results)


class Puller:
    """One of the two responders, its pauses written down, its calls awaitable."""

    def __init__(self, way: str, service: Service, asked: Any) -> None:
        self.paused: list[float] = []
        self.responder: PullResponder | AsyncPullResponder
        if way == "blocking":
            self.responder = PullResponder(
                service, asked, app="orders", sleep=self.paused.append, clock=lambda: 0.0, chance=lambda: 0.5
            )
        else:
            asked = Awaited(asked) if isinstance(asked, Known) else asked
            self.responder = AsyncPullResponder(
                AwaitedService(service), asked, app="orders", sleep=self.pause, clock=lambda: 0.0, chance=lambda: 0.5
            )
        service.stop = self.responder.stop

    async def pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    async def run_once(self, wait_seconds: float = 0) -> int:
        answer = self.responder.run_once(wait_seconds)
        return await answer if inspect.isawaitable(answer) else answer

    async def run(self) -> None:
        answer = self.responder.run()
        if inspect.isawaitable(answer):
            await answer


Make = Callable[[Service, Any], Puller]
KNOWN = {ONE: Outcome.COMMITTED, TWO: Outcome.ROLLED_BACK}


@pytest.fixture(params=["blocking", "awaited"])
def pulling(request: pytest.FixtureRequest) -> Make:
    """Both responders do the same."""
    return lambda service, asked: Puller(request.param, service, asked)


async def test_every_pulled_check_is_answered(pulling: Make) -> None:
    service = Service(asked_about(ONE, TWO, THREE), [])
    puller = pulling(service, Known(KNOWN))
    assert [await puller.run_once(), await puller.run_once(3)] == [3, 0]
    assert service.heard == [{ONE: "committed", TWO: "rolled_back", THREE: "unknown"}]
    assert service.waits == [0, 3]


async def test_a_barrier_that_raises_is_reported_as_unknown(pulling: Make, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(asked_about(ONE, TWO))
    assert await pulling(service, Known(OSError("no database"))).run_once() == 2
    assert service.heard == [{ONE: "unknown", TWO: "unknown"}]
    assert "2 checks of orders.created could not be decided" in caplog.text


async def test_a_responder_lends_its_rules(pulling: Make) -> None:
    service = Service(asked_about(ONE) + asked_about(TWO, topic="orders.paid"))
    responder = CheckResponder(Known(KNOWN), secrets=(), rules={"orders.paid": lambda _check: True})
    await pulling(service, responder).run_once()
    assert service.heard == [{ONE: "committed", TWO: "committed"}]


@pytest.mark.parametrize("error", [UNAVAILABLE, UNREACHABLE])
async def test_what_was_decided_and_not_heard_is_reported_first_next_time(pulling: Make, error: Exception) -> None:
    service = Service(asked_about(ONE, THREE), asked_about(TWO), hearings=[error, error])
    puller = pulling(service, Known(KNOWN))
    for _ in range(2):
        with pytest.raises(type(error)):
            await puller.run_once()
    assert len(service.waits) == 1, "Nothing more is asked for while something is not heard."

    assert await puller.run_once() == 1

    assert service.heard == [{ONE: "committed"}, {TWO: "rolled_back"}], "What is unknown need not be said late."


async def test_what_is_refused_is_not_said_again(pulling: Make) -> None:
    service = Service(asked_about(ONE), asked_about(TWO), hearings=[DENIED])
    puller = pulling(service, Known(KNOWN))
    with pytest.raises(Denied):
        await puller.run_once()
    assert await puller.run_once() == 1
    assert service.heard == [{TWO: "rolled_back"}]


async def test_a_refused_answer_is_logged_and_the_others_stand(pulling: Make, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(asked_about(ONE, TWO))
    service.refuse = {ONE: Conflict("rolled_back", "The message was rolled back.")}
    assert await pulling(service, Known(KNOWN)).run_once() == 2
    (warning,) = [each.message for each in caplog.records]
    assert warning.startswith(f"The answer committed on message {ONE} was refused: The message was rolled back.")


async def test_errors_are_outlived_with_longer_and_longer_pauses(
    pulling: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    errors = [UNREACHABLE, DENIED, RuntimeError("a bug"), *[UNREACHABLE] * 6]
    service = Service(*errors, asked_about(ONE), [], UNREACHABLE)
    puller = pulling(service, Known(KNOWN))

    await puller.run()

    # Three quarters of 0.2, 0.4 ... up to 10 s; none after work, little after an empty answer; then from the beginning.
    doubling = [0.15, 0.3, 0.6, 1.2, 2.4, 4.8, 7.5, 7.5, 7.5]
    assert puller.paused == pytest.approx([*doubling, 0.2, 0.15])
    assert service.heard == [{ONE: "committed"}]
    assert set(service.waits) == {WAIT_SECONDS}
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 10
    assert [bool(each.exc_info) for each in warnings].count(True) == 1, "Only a bug needs its traceback."
    assert "Checks of orders are pulled again." in caplog.text


async def test_the_service_is_not_asked_again_before_it_says(pulling: Make) -> None:
    service = Service(UNAVAILABLE)
    puller = pulling(service, Known(KNOWN))
    await puller.run()
    assert puller.paused == pytest.approx([7.7])


async def test_a_checker_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^A PullResponder cannot await Awaited\.check"):
        PullResponder(Service(), Awaited(Known({})), app="orders")
    with pytest.raises(TypeError, match="Service answers no checks"):
        AsyncPullResponder(AwaitedService(Service()), Service(), app="orders")  # type: ignore[arg-type]


def test_a_thread_of_its_own_is_started_and_stopped_twice_and_again() -> None:
    answered = threading.Event()
    service = Service()
    responder = PullResponder(service, Known(KNOWN), app="orders")

    def hear(app: str, results: Sequence[CheckResult]) -> list[BatchResult]:
        answered.set()
        return [BatchResult(each.id) for each in results]

    service.answer_checks = hear  # type: ignore[method-assign]
    assert responder.stop(), "Nothing was started."
    for _ in range(2):
        answered.clear()
        service.pulls = [asked_about(ONE)]
        responder.start()
        responder.start()
        ours = [each for each in threading.enumerate() if each.name == "aftercommit checks"]
        assert len(ours) == 1
        assert ours[0].daemon
        assert answered.wait(10)
        assert responder.stop()
        assert responder.stop()
        assert not ours[0].is_alive()


async def test_a_stop_ends_the_pause() -> None:
    pulled = asyncio.Event()
    service = Service([])
    service.stop = pulled.set
    responder = AsyncPullResponder(AwaitedService(service), Known(KNOWN), app="orders", chance=lambda: 1e6)
    running = asyncio.create_task(responder.run())
    await asyncio.wait_for(pulled.wait(), 10)
    assert not running.done(), "It pauses for days."
    responder.stop()
    await asyncio.wait_for(running, 10)
