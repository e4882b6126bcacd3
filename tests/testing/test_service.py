"""The service in memory is the real one: its statuses, its refusals, its times, for callers of every kind."""

import asyncio
import threading
from datetime import datetime, timedelta

import pytest

from aftercommit.sdk import Client, Conflict, Invalid, RolledBack, Unreachable, new_id
from aftercommit.testing import InMemoryService, RecordingObserver

TOPIC = "orders.created"


def test_a_message_lives_its_whole_life(service: InMemoryService):
    orders, billing = service.client(app="orders"), service.client(app="billing")

    message = orders.prepare(TOPIC, {"order": 42}, key="42", headers={"shop": "north"})
    assert message.status == "pending_confirmation"
    assert orders.confirm(message.id).status in ("pending_send", "sent")
    [pulled] = billing.pull(TOPIC, "billing")
    assert (pulled.json(), pulled.key, pulled.headers["shop"], pulled.attempt) == ({"order": 42}, "42", "north", 1)
    assert billing.complete(pulled.id).status == "completed"

    [stored] = service.messages(TOPIC)
    assert stored.timeline[0].event == "prepared"
    service.assert_settled()


def test_refusals_are_the_services_own(service: InMemoryService):
    client = service.client()
    message = client.prepare(TOPIC, 1)
    client.cancel(message.id)

    with pytest.raises(RolledBack):
        client.confirm(message.id)
    with pytest.raises(Invalid) as refused:
        client.prepare("no topic", 1)
    assert refused.value.pointer == "/topic"
    with pytest.raises(Conflict):
        client.recheck(message.id)


def test_time_stands_still_until_it_is_advanced(service: InMemoryService):
    client = service.client()
    client.prepare(TOPIC, 1, delay_seconds=10, confirmed=True)
    started = service.now

    service.advance(9.5)
    assert service.drain(_nothing).counts == {}
    service.advance(timedelta(seconds=0.5))

    assert service.drain(_nothing).counts == {"completed": 1}
    assert service.now - started == timedelta(seconds=10)


def test_time_never_goes_back(service: InMemoryService):
    with pytest.raises(ValueError, match="only goes forward"):
        service.advance(-1)


def test_a_settled_message_is_forgotten_after_its_retention(service: InMemoryService):
    service.client().prepare(TOPIC, 1, confirmed=True)
    service.drain(_nothing)

    service.advance(timedelta(days=6.9))
    assert service.statuses() == {"completed": 1}
    service.advance(timedelta(days=0.2))

    assert service.statuses() == {}


def test_what_waits_for_nobody_does_not_make_the_rest_late(service: InMemoryService):
    client = service.client()
    client.prepare("orders.held", 1, confirmed=True, delay_seconds=1)
    client.pause("orders.held")
    message = client.prepare(TOPIC, 1, confirmed=True, delay_seconds=1000)
    due = service.now + timedelta(seconds=1000)

    service.advance(timedelta(days=1))

    assert service.statuses("orders.held") == {"pending_send": 1}
    [sent] = [each for each in client.message(message.id).deliveries if each.sent_at]
    assert datetime.fromisoformat(sent.sent_at or "") - due < timedelta(seconds=6)


def test_deliveries_that_are_never_reported_are_parked(service: InMemoryService):
    service.subscribe(TOPIC, "billing", app="billing", redelivery_seconds=[10], deliveries_max=2)
    service.client().prepare(TOPIC, 1, confirmed=True)

    for _ in range(2):
        assert len(service.client(app="billing").pull(TOPIC, "billing")) == 1
        service.advance(10)

    service.advance(1)
    assert service.statuses() == {"undelivered": 1}
    assert "undelivered" in [name for name, _ in service.alerts]
    with pytest.raises(AssertionError, match="1 of 1 messages is not settled"):
        service.assert_settled()


def test_a_pull_that_would_wait_comes_back_with_nothing(service: InMemoryService):
    assert service.client(app="billing").pull(TOPIC, "billing", wait_seconds=30) == []


def test_a_pull_that_would_wait_is_refused_as_ever(service: InMemoryService):
    with pytest.raises(Invalid):
        service.client(app="billing").pull(TOPIC, "billing", wait_seconds=31)


def test_a_pull_that_waits_gets_what_another_thread_publishes(service: InMemoryService):
    got: list[str] = []
    polling = threading.Event()

    def consume() -> None:
        client = service.client(app="billing")
        while not got:
            polling.set()
            got.extend(each.id for each in client.pull(TOPIC, "billing", wait_seconds=30))

    consumer = threading.Thread(target=consume)
    consumer.start()
    polling.wait()
    message = service.client().prepare(TOPIC, 1, confirmed=True)
    consumer.join(10)

    assert got == [message.id]


def test_many_threads_share_one_client(service: InMemoryService):
    client = service.client()
    ids = [new_id() for _ in range(200)]

    def publish(part: list[str]) -> None:
        for each in part:
            client.prepare(TOPIC, each, id=each)
            client.confirm(each)

    threads = [threading.Thread(target=publish, args=(ids[start::8],)) for start in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert {each.id for each in service.assert_published(TOPIC, count=200)} == set(ids)


async def test_the_async_client_works_on_the_tests_loop(service: InMemoryService):
    async with service.async_client(app="orders") as client:
        messages = await asyncio.gather(*(client.prepare(TOPIC, number) for number in range(20)))
        await asyncio.gather(*(client.confirm(each.id) for each in messages))

    assert (await service.drain_async(_nothing_async)).counts == {"completed": 20}


def test_the_async_client_works_on_one_loop_after_the_other(service: InMemoryService):
    client = service.async_client()

    for _ in range(2):
        asyncio.run(client.prepare(TOPIC, 1))

    assert service.statuses() == {"pending_confirmation": 2}


async def test_blocking_code_works_inside_a_running_loop(service: InMemoryService):
    service.client().prepare(TOPIC, 1, confirmed=True)
    service.advance(60)
    service.assert_published(TOPIC, count=1)
    assert service.drain(_nothing).counts == {"completed": 1}


async def test_a_cancelled_call_leaves_the_service_working(service: InMemoryService):
    client = service.async_client()
    call = asyncio.create_task(client.prepare(TOPIC, 1))
    await asyncio.sleep(0)
    call.cancel()
    # Cancelled, or answered just before: either way the service goes on.
    await asyncio.wait([call])

    assert (await client.prepare(TOPIC, 2)).status == "pending_confirmation"


def test_code_that_makes_its_own_client_takes_the_transport(service: InMemoryService):
    with Client("http://127.0.0.1:8340", app="orders", transport=service.transport()) as client:
        client.prepare(TOPIC, 1, confirmed=True)
    service.assert_published(TOPIC, count=1)


def test_two_services_know_nothing_of_each_other(service: InMemoryService):
    with InMemoryService() as other:
        other.client().prepare(TOPIC, 1, confirmed=True)
        service.refute_published(TOPIC)


def test_a_stopped_service_is_unreachable_at_once():
    with InMemoryService() as service:
        client = service.client()
    service.stop()
    with pytest.raises(Unreachable) as error:
        client.prepare(TOPIC, 1)
    assert not error.value.perhaps_received


def test_no_thread_is_left_when_it_stopped():
    before = threading.active_count()
    made = InMemoryService()
    assert threading.active_count() == before
    with made:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_subscribing_adds_and_keeps_the_policy(service: InMemoryService):
    service.subscribe(TOPIC, "billing", app="billing", deliveries_max=3)
    topic = service.subscribe(TOPIC, "stock", app="stock")

    assert {each.name: each.app for each in topic.subscriptions} == {"billing": "billing", "stock": "stock"}
    assert topic.policy["deliveries_max"] == 3


def test_the_observer_is_there_for_users_too():
    observer = RecordingObserver()
    observer.count("seen", 2, topic="x")
    assert observer.counted("seen") == 2


def _nothing(_message: object) -> None:
    return None


async def _nothing_async(_message: object) -> None:
    await asyncio.sleep(0)
