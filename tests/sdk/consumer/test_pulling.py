"""The pull loops: as much as there is room for, through errors, and a stop that leaves nothing half done."""

import asyncio
import logging
import threading

import pytest

from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.handlers import Registered
from aftercommit.sdk.consumer.pace import PAUSE_MAX_SECONDS, Pace
from aftercommit.sdk.errors import Denied, Unavailable, Unreachable
from tests.e2e.waiting import InBackground
from tests.sdk.consumer.pulled import TOPIC, AwaitedService, pulled
from tests.sdk.transactions.recorder import unreachable

HANDLER = Registered(TOPIC, "stock", lambda delivery: None, 8, None)


class Naps:
    """Pauses that cost no time, written down."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)

    async def awaited(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


# The pace.


def test_errors_make_the_pauses_longer_up_to_a_limit_and_spread():
    hasty, slow = Pace(HANDLER, lambda: 0.0), Pace(HANDLER, lambda: 1.0)
    assert [hasty.after_error(unreachable()) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [slow.after_error(unreachable()) for _ in range(40)][-1] == PAUSE_MAX_SECONDS
    assert slow.after_pull(1, 0.0) == 0
    assert slow.after_error(unreachable()) == 0.2


def test_a_service_that_names_a_time_is_not_asked_earlier():
    busy = Unavailable("busy", "It is busy.", retry_after_seconds=60)
    assert Pace(HANDLER, lambda: 0.0).after_error(busy) == 60
    assert Pace(HANDLER, lambda: 1.0).after_error(busy) == 72


def test_an_empty_pull_that_was_not_held_is_not_repeated_at_once():
    pace = Pace(HANDLER, lambda: 0.5)
    assert pace.after_pull(0, 0.001) == 0.2
    assert pace.after_pull(0, 2.0) == 0


# Threads.


def test_a_consumer_without_handlers_does_not_run_for_nothing(service):
    with pytest.raises(ValueError, match="has no handlers"):
        Consumer(service).run()


def test_pulled_messages_are_handled_until_the_stop(service, connect, orders):
    consumer = Consumer(service, connect, sleep=Naps())
    service.shelf.append([pulled(number) for number in range(30)])
    left = threading.Semaphore(0)

    @consumer.on(TOPIC, "stock", concurrency=4)
    def reserve(delivery, tx) -> None:
        tx.session.execute("INSERT INTO orders VALUES (?)", [delivery.json()["order"]])
        left.release()

    with InBackground(consumer.run) as running:
        for _ in range(30):
            assert left.acquire(timeout=10)
        consumer.stop()
        assert running.result() == 0
    assert orders() == list(range(30))
    assert len(service.ids("complete")) == 30
    assert max(service.asked) <= 4


def test_no_error_of_the_service_ends_the_loop(service, caplog):
    naps = Naps()
    consumer = Consumer(service, sleep=naps, chance=lambda: 0.0)
    service.shelf.extend([unreachable(), Denied("forbidden", "Not yours."), OSError("a bug"), [pulled(1)]])
    handled = threading.Event()
    consumer.on(TOPIC, "stock")(lambda delivery: handled.set())

    with InBackground(consumer.run) as running:
        assert handled.wait(10)
        consumer.stop()
        running.result()
    assert naps.taken[:3] == [0.1, 0.2, 0.4]
    assert "Not yours" in caplog.text


def test_a_stop_waits_for_what_runs_and_pulls_nothing_more(service):
    consumer = Consumer(service, sleep=Naps())
    service.shelf.append([pulled(1), pulled(2)])
    begun, may_end = threading.Event(), threading.Event()

    @consumer.on(TOPIC, "stock", concurrency=1)
    def slow(delivery) -> None:
        begun.set()
        assert may_end.wait(10)

    with InBackground(consumer.run) as running:
        assert begun.wait(10)
        consumer.stop()
        assert not running.done
        may_end.set()
        assert running.result() == 0
    assert len(service.ids("complete")) == 1
    assert len(service.shelf) == 1


def test_a_thread_that_outlives_the_grace_is_counted(service, caplog):
    consumer = Consumer(service, sleep=Naps())
    service.shelf.append([pulled(1)])
    begun, may_end = threading.Event(), threading.Event()

    @consumer.on(TOPIC, "stock")
    def slow(delivery) -> None:
        begun.set()
        assert may_end.wait(10)

    with InBackground(lambda: consumer.run(grace_seconds=0.05)) as running:
        assert begun.wait(10)
        consumer.stop()
        assert running.result() == 1
        may_end.set()
    assert "1 handlers still run" in caplog.text


def test_a_stop_before_the_run_is_a_stop(service):
    consumer = Consumer(service)
    consumer.on(TOPIC)(lambda delivery: None)
    consumer.stop()
    consumer.stop()
    assert consumer.run() == 0
    assert service.asked == []


def test_a_handler_that_ends_its_thread_ends_nothing_else(service, caplog):
    consumer = Consumer(service, sleep=Naps())
    service.shelf.append([pulled(1), pulled(2)])
    handled = threading.Event()

    @consumer.on(TOPIC, "stock", concurrency=1)
    def leave(delivery) -> None:
        if delivery.json()["order"] == 1:
            raise SystemExit
        handled.set()

    with InBackground(consumer.run) as running:
        assert handled.wait(10)
        consumer.stop()
        running.result()
    assert "ended its thread" in caplog.text
    assert len(service.ids("complete")) == 1


# Tasks.


@pytest.fixture
def awaited(service) -> AwaitedService:
    """The service for an asynchronous consumer."""
    return AwaitedService(service)


async def test_tasks_handle_what_is_pulled_and_no_more_is_pulled_than_fits(awaited, service):
    consumer = AsyncConsumer(awaited, sleep=Naps().awaited)
    service.shelf.append([pulled(number) for number in range(250)])
    seen: list[int] = []

    @consumer.on(TOPIC, "stock", concurrency=150)
    async def reserve(delivery) -> None:
        await asyncio.sleep(0)
        seen.append(delivery.json()["order"])

    running = asyncio.create_task(consumer.run())
    await awaited.emptied.wait()
    consumer.stop()
    assert await running == 0
    assert sorted(seen) == list(range(250))
    assert len(service.ids("complete")) == 250
    assert service.asked[0] == 100
    assert max(service.asked) == 100


async def test_no_error_ends_the_loop_of_tasks(awaited, service):
    naps = Naps()
    consumer = AsyncConsumer(awaited, sleep=naps.awaited, chance=lambda: 0.0)
    errors = [Unreachable("No answer.", perhaps_received=False, repeatable=True), KeyError("a bug")]
    service.shelf.extend([*errors, [pulled(1)]])
    handled = asyncio.Event()

    @consumer.on(TOPIC, "stock")
    async def reserve(delivery) -> None:
        handled.set()

    running = asyncio.create_task(consumer.run())
    await handled.wait()
    consumer.stop()
    await running
    assert naps.taken[:2] == [0.1, 0.2]


async def test_tasks_that_run_may_end_in_the_grace(awaited, service):
    consumer = AsyncConsumer(awaited, sleep=Naps().awaited)
    service.shelf.append([pulled(1), pulled(2)])
    begun, may_end = asyncio.Event(), asyncio.Event()

    @consumer.on(TOPIC, "stock", concurrency=1)
    async def slow(delivery) -> None:
        begun.set()
        await may_end.wait()

    running = asyncio.create_task(consumer.run())
    await begun.wait()
    consumer.stop()
    await asyncio.sleep(0)
    assert not running.done()
    may_end.set()
    assert await running == 0
    assert len(service.ids("complete")) == 1
    assert len(service.shelf) == 1


@pytest.mark.parametrize("way", ["grace", "cancelled"])
async def test_tasks_that_are_cancelled_report_nothing(awaited, service, caplog, way):
    consumer = AsyncConsumer(awaited, sleep=Naps().awaited)
    service.shelf.append([pulled(1)])
    begun = asyncio.Event()

    @consumer.on(TOPIC, "stock", timeout_seconds=None)
    async def endless(delivery) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(consumer.run(grace_seconds=0.01))
    await begun.wait()
    if way == "grace":
        consumer.stop()
        assert await running == 1
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert service.told == []
    assert "to come again" in caplog.text


def test_a_stop_before_the_run_of_tasks_is_a_stop_and_the_next_run_may_be_elsewhere(awaited, service):
    consumer = AsyncConsumer(awaited, sleep=Naps().awaited)

    @consumer.on(TOPIC)
    async def reserve(delivery) -> None: ...

    consumer.stop()
    assert asyncio.run(consumer.run()) == 0
    assert service.asked == []

    async def run_until_emptied() -> int:
        awaited.emptied = asyncio.Event()
        running = asyncio.create_task(consumer.run())
        await awaited.emptied.wait()
        consumer.stop()
        return await running

    assert asyncio.run(run_until_emptied()) == 0
    assert service.asked


async def test_a_consumer_of_tasks_without_handlers_does_not_run_for_nothing(awaited):
    with pytest.raises(ValueError, match="has no handlers"):
        await AsyncConsumer(awaited).run()


async def test_the_pause_of_its_own_ends_with_the_stop(awaited, service):
    consumer = AsyncConsumer(awaited, chance=lambda: 1.0)
    service.shelf.append(Unavailable("busy", "It is busy.", retry_after_seconds=3600))

    @consumer.on(TOPIC)
    async def reserve(delivery) -> None: ...

    running = asyncio.create_task(consumer.run())
    await awaited.was_asked.wait()
    consumer.stop()
    assert await asyncio.wait_for(running, 10) == 0


@pytest.fixture(autouse=True)
def _every_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aftercommit.consumer")
