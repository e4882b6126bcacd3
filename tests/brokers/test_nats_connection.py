"""NATS goes away, stands still, or never answers: what the broker says meanwhile, and what is delivered in the end."""

import asyncio
import os
import signal
from contextlib import suppress

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from aftercommit.clocks import SystemClock
from aftercommit.ports.broker import Accepted, Answer, Outgoing, Route, Unavailable
from aftercommit.testing.observer import RecordingObserver
from tests.brokers.jetstream import jetstream, make_broker, ready_broker, receive, until_consumer
from tests.brokers.waiting import until
from tests.conformance.broker_suite import TOPIC, outgoing
from tests.servers.nats import Nats
from tests.servers.ports import free_port
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy

ROUTE = Route(topic=TOPIC, subscriptions=("billing",))
WINDOW = [outgoing(number) for number in range(500)]


class Sabotage:
    """For a proxy: forwards until it is armed, then does this once to what holds a publish."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self.armed = False

    def __call__(self, piece: bytes) -> Fault:
        if not self.armed or b"HPUB" not in piece:
            return FORWARD
        self.armed = False
        return self._fault


def kinds(answers: list[Answer]) -> set[type[Answer]]:
    """What kinds of answers there were."""
    return {type(each) for each in answers}


async def freeze(server: Nats) -> None:
    """Hold the process still, and return when it stands."""
    os.kill(server.pid, signal.SIGSTOP)
    process = psutil.Process(server.pid)
    await until(lambda: process.status() == psutil.STATUS_STOPPED)


async def publish_all(broker: object, batch: list[Outgoing]) -> int:
    """Publish, as the service does, until everything is accepted; how many answers were `Unavailable`."""
    unavailable = 0
    while batch:
        await until(lambda: broker.trouble is None)  # type: ignore[attr-defined]
        answers = await broker.publish(batch)  # type: ignore[attr-defined]
        batch = [each for each, answer in zip(batch, answers, strict=True) if answer != Accepted()]
        assert kinds(answers) <= {Accepted, Unavailable}
        unavailable += len(batch)
    return unavailable


async def test_a_broker_that_is_down_is_in_trouble_and_hinders_nobody() -> None:
    port = free_port()
    observer = RecordingObserver()
    clock = SystemClock()
    broker = make_broker(f"nats://me:secret@127.0.0.1:{port}", observer=observer)
    began = clock.monotonic()
    await broker.open()
    broker.declare(ROUTE)
    assert kinds(await broker.publish(WINDOW)) == {Unavailable}
    assert clock.monotonic() - began < 0.5
    await until(lambda: "cannot be reached" in (broker.trouble or ""))
    assert f"127.0.0.1:{port}" in (broker.trouble or "")
    assert [name for name, *_ in observer.alerts] == ["broker_unavailable"]
    assert "secret" not in f"{broker.trouble} {observer.alerts}"
    await broker.close()
    assert clock.monotonic() - began < 5


async def test_a_server_that_comes_up_late_is_found(own_nats: Nats) -> None:
    own_nats.kill9()
    broker = make_broker(own_nats.url)
    broker.declare(ROUTE)
    await broker.open()
    await until(lambda: "cannot be reached" in (broker.trouble or ""))
    own_nats.start()
    assert await publish_all(broker, WINDOW) == 0
    assert len(await receive(own_nats.url, TOPIC, "billing", 500)) == 500
    await broker.close()


async def test_consumers_find_their_queue_before_anything_is_published(own_nats: Nats) -> None:
    async with ready_broker(own_nats.url) as broker:
        broker.declare(ROUTE)
        async with jetstream(own_nats.url) as context:
            await until_consumer(context, "orders_created__billing")


async def test_a_server_killed_in_the_middle_loses_nothing_it_accepted(own_nats: Nats) -> None:
    messages = [outgoing(number) for number in range(2000)]
    async with ready_broker(own_nats.url) as broker:
        broker.declare(ROUTE)
        assert kinds(await broker.publish(messages[:500])) == {Accepted}
        interrupted = [asyncio.create_task(broker.publish(messages[from_:][:500])) for from_ in (500, 1000)]
        await asyncio.sleep(0)
        own_nats.kill9()
        answers = [answer for each in interrupted for answer in await each]
        await until(lambda: broker.trouble is not None)
        own_nats.start()
        unsure = [each for each, answer in zip(messages[500:1500], answers, strict=True) if answer != Accepted()]
        await publish_all(broker, unsure)
        await publish_all(broker, messages[1500:])
        received = [each.id for each in await receive(own_nats.url, TOPIC, "billing")]
    assert set(received) == {each.id for each in messages}
    assert len(received) <= len(messages) + len(unsure)


@pytest.mark.parametrize("fate", [Fate.CUT, Fate.LOSE_ANSWER, Fate.LATE])
async def test_a_window_cut_off_is_unavailable_and_stored_once_when_it_is_sent_again(
    own_nats: Nats, fate: Fate
) -> None:
    sabotage = Sabotage(Fault(fate, 0.2))
    with FaultProxy(own_nats.port, sabotage) as proxy:
        async with ready_broker(f"nats://127.0.0.1:{proxy.port}") as broker:
            broker.declare(ROUTE)
            assert await broker.publish([outgoing(1000)]) == [Accepted()]
            sabotage.armed = True
            answers = await broker.publish(WINDOW)
            assert Unavailable in kinds(answers)
            assert sum(isinstance(each, Unavailable) for each in answers) > 100
            left = [each for each, answer in zip(WINDOW, answers, strict=True) if answer != Accepted()]
            await publish_all(broker, left)
    received = [each.id for each in await receive(own_nats.url, TOPIC, "billing")]
    assert len(set(received)) == 501
    # A late piece may arrive after its message was stored for the second time: no window of duplicates is endless.
    assert len(received) == 501


async def test_a_server_that_stands_still_is_given_up_in_time_and_delivers_each_message_once(own_nats: Nats) -> None:
    clock = SystemClock()
    async with ready_broker(own_nats.url, publish_seconds=0.5) as broker:
        broker.declare(ROUTE)
        assert await broker.publish([outgoing(1000)]) == [Accepted()]
        await freeze(own_nats)
        began = clock.monotonic()
        assert kinds(await broker.publish(WINDOW)) == {Unavailable}
        assert clock.monotonic() - began < 2
        # Silent for so long, it is not trusted any more, and nothing more is claimed for it.
        await until(lambda: broker.trouble is not None)
        os.kill(own_nats.pid, signal.SIGCONT)
        await publish_all(broker, WINDOW)
        received = [each.id for each in await receive(own_nats.url, TOPIC, "billing")]
    assert sorted(received) == sorted(each.id for each in [*WINDOW, outgoing(1000)])


async def test_a_window_larger_than_any_buffer_passes_and_stands_still_in_time(own_nats: Nats) -> None:
    large = [outgoing(number, payload=bytes(256 * 1024)) for number in range(200)]
    clock = SystemClock()
    async with ready_broker(own_nats.url, publish_seconds=10.0) as broker:
        broker.declare(ROUTE)
        assert kinds(await broker.publish(large)) == {Accepted}
    async with ready_broker(own_nats.url, publish_seconds=0.5) as broker:
        broker.declare(ROUTE)
        assert await broker.publish([outgoing(1000)]) == [Accepted()]
        await freeze(own_nats)
        began = clock.monotonic()
        windows = await asyncio.gather(
            *(
                broker.publish([outgoing(n, attempt=2, payload=e.content.payload) for n, e in enumerate(large)])
                for _ in range(10)
            )
        )
        assert clock.monotonic() - began < 10
        assert all(kinds(each) == {Unavailable} for each in windows)
        os.kill(own_nats.pid, signal.SIGCONT)


async def test_closing_in_the_middle_answers_everybody_and_leaves_nothing_behind(own_nats: Nats) -> None:
    before = asyncio.all_tasks()
    broker = make_broker(own_nats.url)
    broker.declare(ROUTE)
    await broker.open()
    await publish_all(broker, [outgoing(1)])
    await freeze(own_nats)
    publishing = asyncio.create_task(broker.publish([outgoing(n, payload=bytes(100_000)) for n in range(500)]))
    await until(lambda: bool(broker._windows))
    await broker.close()
    assert kinds(await publishing) == {Unavailable}
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_server_that_accepts_connections_and_says_nothing_does_not_hold_up_the_end() -> None:
    accepted: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: accepted.append(writer), "127.0.0.1", 0)
    broker = make_broker(f"nats://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
    await broker.open()
    await until(lambda: bool(accepted))
    async with asyncio.timeout(2):
        await broker.close()
    silent.close()
    for each in accepted:
        each.close()
        # The other end was cut, which is what the broker does with servers it leaves.
        with suppress(ConnectionError):
            await each.wait_closed()


async def test_what_does_not_speak_nats_is_trouble_like_any_other() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO nonsense\r\nHTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    stranger = await asyncio.start_server(greet, "127.0.0.1", 0)
    broker = make_broker(f"nats://127.0.0.1:{stranger.sockets[0].getsockname()[1]}")
    await broker.open()
    await until(lambda: "cannot be reached" in (broker.trouble or ""))
    await broker.close()
    stranger.close()


async def test_who_is_not_let_in_is_told_so() -> None:
    class Locked(Nats):
        def command(self) -> list[str]:
            return [*super().command(), "--user", "aftercommit", "--pass", "right"]

    server = Locked.found()
    assert server is not None
    with server:
        async with ready_broker(f"nats://aftercommit:right@127.0.0.1:{server.port}") as broker:
            broker.declare(ROUTE)
            assert await broker.publish([outgoing(1)]) == [Accepted()]
        broker = make_broker(f"nats://aftercommit:wrong@127.0.0.1:{server.port}")
        await broker.open()
        await until(lambda: "Authorization Violation" in (broker.trouble or ""))
        await broker.close()
