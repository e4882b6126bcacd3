"""Faults do what they say for as long as their block lasts, and cost no time."""

import asyncio

import pytest

from aftercommit.sdk import Unreachable, new_message
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import CRASH_POINTS, Crash, Crashed, InMemoryService
from aftercommit.testing.faults import Faults
from tests.testing.shop import TOPIC, Shop


def test_the_crash_points_are_all_points():
    assert list(CRASH_POINTS) == list(Point)


def test_a_crash_is_caught_by_no_except_exception(service: InMemoryService):
    caught = []
    with service.crash_at(Point.AFTER_PREPARE) as crash:
        try:
            service.probe(Point.AFTER_PREPARE)
        except Exception as error:
            caught.append(error)

    assert crash.happened
    assert caught == []


def test_a_point_that_is_not_passed_is_no_crash(service: InMemoryService):
    with service.crash_at(Point.AFTER_PREPARE) as crash:
        service.probe(Point.BEFORE_PREPARE)
    assert not crash.happened


def test_a_dead_process_says_nothing_more_until_the_block_ends(service: InMemoryService):
    client = service.client()
    message = client.prepare(TOPIC, 1)

    with service.crash_at(Point.BEFORE_COMMIT):
        try:
            service.probe(Point.BEFORE_COMMIT)
        finally:
            with pytest.raises(Unreachable) as error:
                client.cancel(message.id)

    assert not error.value.perhaps_received
    assert service.statuses() == {"pending_confirmation": 1}
    client.confirm(message.id)
    service.assert_published(TOPIC, count=1)


def test_what_is_raised_because_of_the_crash_stays_in_the_block(service: InMemoryService):
    client = service.client()
    with service.crash_at(Point.BEFORE_COMMIT) as crash:
        try:
            service.probe(Point.BEFORE_COMMIT)
        except BaseException:
            client.cancel("01941f29-7c00-7000-8000-000000000000")
            raise
    assert crash.happened


async def test_a_crash_within_a_group_of_tasks_stays_in_the_block(service: InMemoryService):
    async def die() -> None:
        await asyncio.sleep(0)
        service.probe(Point.BEFORE_WORK)

    with service.crash_at(Point.BEFORE_WORK) as crash:
        async with asyncio.TaskGroup() as group:
            group.create_task(die())
    assert crash.happened


def test_other_errors_leave_the_block(service: InMemoryService):
    with pytest.raises(ValueError, match="mine"), service.crash_at(Point.BEFORE_WORK):
        raise ValueError("mine")


def test_failed_assertions_leave_the_block_even_after_a_crash(service: InMemoryService):
    with pytest.raises(AssertionError), service.crash_at(Point.BEFORE_WORK):
        try:
            service.probe(Point.BEFORE_WORK)
        except Crashed:
            raise AssertionError from None


def test_clients_pass_the_points_they_are_given(service: InMemoryService):
    for client in (service.client(), service.async_client()):
        with service.crash_at(Point.AFTER_SEND) as crash:
            client.probe(Point.AFTER_SEND)
        assert crash.happened


def test_a_lost_answer_has_its_effect_and_the_repeat_finds_it_done(service: InMemoryService):
    client = service.client()
    with service.lose_answers("prepare", times=1) as lost:
        message = client.prepare(TOPIC, 1)

    assert lost.lost == 1
    assert service.statuses() == {"pending_confirmation": 1}
    assert message.status == "pending_confirmation"


def test_all_answers_can_be_lost(service: InMemoryService):
    client = service.client()
    message = client.prepare(TOPIC, 1)

    with service.lose_answers("confirm") as lost, pytest.raises(Unreachable) as error:
        client.confirm(message.id)

    assert lost.lost == 6
    assert error.value.perhaps_received
    service.assert_published(TOPIC, count=1)


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("prepare", lambda client, id_: client.prepare(TOPIC, 1)),
        ("prepare", lambda client, id_: client.prepare_batch([new_message(TOPIC, 1)])),
        ("confirm", lambda client, id_: client.confirm_batch([id_])),
        ("cancel", lambda client, id_: client.cancel(id_)),
        ("status", lambda client, id_: client.status_batch([id_])),
        ("pull", lambda client, id_: client.pull(TOPIC, "billing")),
        ("pull_checks", lambda client, id_: client.pull_checks("orders")),
        (None, lambda client, id_: client.stats()),
    ],
)
def test_answers_are_lost_by_verb_single_or_in_batches(service: InMemoryService, verb, call):
    client = service.client(retries_max=0)
    message = client.prepare(TOPIC, 1)

    with service.lose_answers(verb) as lost, pytest.raises(Unreachable):
        call(client, message.id)

    assert lost.lost == 1


def test_a_verb_that_is_none_is_a_mistake(service: InMemoryService):
    with pytest.raises(ValueError, match="'publish' is no verb"), service.lose_answers("publish"):
        raise AssertionError("The block was entered.")


def test_an_unreachable_service_costs_no_time_and_moves_none(service: InMemoryService):
    client, before = service.client(), service.now

    with service.unreachable(), pytest.raises(Unreachable) as error:
        client.prepare(TOPIC, 1)

    assert not error.value.perhaps_received
    assert service.now == before
    assert service.statuses() == {}
    assert client.prepare(TOPIC, 1).status == "pending_confirmation"


def test_a_client_loses_patience_in_its_own_time(service: InMemoryService):
    client = service.client(retries_max=1000, timeout_seconds=10)
    with service.lose_answers() as lost, pytest.raises(Unreachable):
        client.prepare(TOPIC, 1)
    # Pauses of 0.1 s that double up to 5 s.
    assert 4 <= lost.lost <= 12


def test_what_is_answered_to_a_process_that_died_meanwhile_is_not_heard():
    faults = Faults()
    request = Request("POST", "http://localhost/v1/messages", {}, b"{}", 1.0)
    with Crash(Point.AFTER_WORK, faults):
        faults.before(request)
        try:
            faults.probe(Point.AFTER_WORK)
        finally:
            with pytest.raises(NoAnswer) as error:
                faults.after(request)
    assert error.value.perhaps_received
    assert not faults.present


async def test_faults_concern_async_clients_alike(service: InMemoryService):
    client = service.async_client()
    with service.unreachable(), pytest.raises(Unreachable):
        await client.prepare(TOPIC, 1)
    with service.lose_answers("prepare", times=1):
        await client.prepare(TOPIC, 1)
    assert service.statuses() == {"pending_confirmation": 1}


def test_a_dead_process_answers_no_checks(service: InMemoryService):
    shop = Shop(service)
    service.answer_checks_with(shop)
    with service.crash_at(Point.AFTER_COMMIT):
        try:
            shop.order("42")
        finally:
            service.advance(120)
            assert service.checks == []
            with pytest.raises(AssertionError, match="is their process down"):
                service.run_checks()

    assert service.run_checks() == {"committed": 1}
