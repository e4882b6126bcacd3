"""Checks are answered by the user's code, in the thread and on the loop of the test, and never guessed."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.testing import InMemoryService
from aftercommit.wire import Check

TOPIC = "orders.created"


def test_a_committed_transaction_is_found_by_its_check(service: InMemoryService):
    asked: list[Check] = []

    def source(checks: Sequence[Check]) -> dict[str, Outcome]:
        asked.extend(checks)
        return {each.id: Outcome.COMMITTED for each in checks}

    service.answer_checks_with(source)
    message = service.client().prepare(TOPIC, 1, key="42", check_hint="shard-3")

    assert service.run_checks() == {"committed": 1}

    service.assert_published(TOPIC, key="42", count=1)
    [check] = asked
    assert (check.id, check.topic, check.key, check.hint, check.check) == (message.id, TOPIC, "42", "shard-3", 1)


def test_checks_wait_until_they_are_due(service: InMemoryService):
    service.answer_checks_with(lambda checks: dict.fromkeys([each.id for each in checks], Outcome.ROLLED_BACK))
    service.client().prepare(TOPIC, 1, check_after_seconds=30)

    service.advance(29)
    assert service.checks == []
    service.advance(2)

    assert [each.outcome for each in service.checks] == ["rolled_back"]
    assert service.statuses() == {"rolled_back": 1}


def test_an_object_with_check_answers_for_its_application_only(service: InMemoryService):
    class Source:
        def check(self, checks: Sequence[Check]) -> dict[str, Outcome]:
            return {each.id: Outcome.COMMITTED for each in checks}

    service.answer_checks_with(Source(), app="orders")
    service.answer_checks_with(lambda checks: {}, app="stock")
    service.client(app="orders").prepare(TOPIC, 1)
    service.client(app="stock").prepare(TOPIC, 2)

    assert service.run_checks() == {"committed": 1, "unknown": 1}
    assert {each.app for each in service.assert_published(TOPIC)} == {"orders"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda checks: {}, "leaves it out"),
        (lambda checks: {each.id: "perhaps" for each in checks}, "'perhaps' is no outcome"),
        (lambda checks: None, "TypeError"),
        (lambda checks: 1 // 0, "ZeroDivisionError"),
        (lambda checks: asyncio.wait_for(asyncio.Event().wait(), 0), "TimeoutError"),
    ],
)
def test_whatever_is_no_answer_is_unknown(service: InMemoryService, answer, why: str):
    service.answer_checks_with(answer)
    service.client().prepare(TOPIC, 1)

    assert service.run_checks() == {"unknown": 1}
    assert why in (service.checks[0].detail or "")
    assert service.statuses() == {"pending_confirmation": 1}


def test_unknown_is_asked_again_and_then_undecided(service: InMemoryService):
    service.subscribe(TOPIC, "billing", app="billing", checks_max=3)
    service.answer_checks_with(lambda checks: {})
    service.client().prepare(TOPIC, 1)

    for _ in range(3):
        service.run_checks()

    assert len(service.checks) == 3
    assert service.statuses() == {"undecided": 1}


def test_nobody_to_answer_is_a_failure_that_says_so(service: InMemoryService):
    service.client(app="stock").prepare(TOPIC, 1)
    with pytest.raises(AssertionError, match="Nobody answers checks of stock: call answer_checks_with"):
        service.run_checks()


def test_what_cannot_be_asked_is_refused(service: InMemoryService):
    with pytest.raises(TypeError, match="cannot answer checks"):
        service.answer_checks_with(42)  # type: ignore[arg-type]


def test_checks_are_answered_in_the_thread_that_moves_time(service: InMemoryService):
    threads: list[threading.Thread] = []

    def source(checks: Sequence[Check]) -> dict[str, Outcome]:
        threads.append(threading.current_thread())
        return {each.id: Outcome.COMMITTED for each in checks}

    service.answer_checks_with(source)
    service.client().prepare(TOPIC, 1)
    service.advance(61)

    assert threads == [threading.current_thread()]


def test_a_recheck_is_asked_with_the_next_second(service: InMemoryService):
    service.answer_checks_with(lambda checks: dict.fromkeys((each.id for each in checks), Outcome.COMMITTED))
    client = service.client()
    message = client.prepare(TOPIC, 1)
    client.recheck(message.id)

    service.advance(1)

    assert client.message(message.id).status == "sent"


async def test_an_async_source_is_awaited_on_the_tests_loop(service: InMemoryService):
    loops = []

    async def source(checks: Sequence[Check]) -> dict[str, Outcome]:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return {each.id: Outcome.COMMITTED for each in checks}

    service.answer_checks_with(source)
    await service.async_client().prepare(TOPIC, 1)

    assert await service.run_checks_async() == {"committed": 1}
    assert loops == [asyncio.get_running_loop()]


async def test_an_async_source_that_the_caller_holds_up_is_unknown_and_says_why(service: InMemoryService):
    async def source(checks: Sequence[Check]) -> dict[str, Outcome]:
        await asyncio.sleep(0)
        return {each.id: Outcome.COMMITTED for each in checks}

    service.answer_checks_with(source)
    service.client().prepare(TOPIC, 1)

    assert service.run_checks() == {"unknown": 1}
    assert "asyncio" in (service.checks[0].detail or "")


def test_a_source_may_use_the_client_but_not_move_time(service: InMemoryService):
    client = service.client()

    def source(checks: Sequence[Check]) -> dict[str, Outcome]:
        assert client.message(checks[0].id).key == "42"
        service.advance(1)
        return {}

    service.answer_checks_with(source)
    client.prepare(TOPIC, 1, key="42")

    service.run_checks()
    assert isinstance(service.checks[0].error, RuntimeError)
    assert "while a check is being answered" in str(service.checks[0].error)


def test_an_operator_that_resolves_asks_once_more(service: InMemoryService):
    service.subscribe(TOPIC, "billing", app="billing", checks_max=1)
    answers: dict[str, Outcome] = {}
    service.answer_checks_with(lambda checks: answers)
    client = service.client()
    message = client.prepare(TOPIC, 1)
    service.run_checks()
    answers[message.id] = Outcome.COMMITTED

    # The check's answer wins over the operator's.
    client.resolve(message.id, "rolled_back", "it must have been")

    service.assert_published(TOPIC, count=1)


def test_stopping_does_not_wait_for_a_check_that_nobody_answers():
    with InMemoryService() as service:
        service.answer_checks_with(lambda checks: {})
        client = service.client()
        client.prepare(TOPIC, 1)
        client.recheck(client.prepare(TOPIC, 2).id)


def test_the_pull_way_of_checking_works_too(service: InMemoryService):
    client = service.client()
    message = client.prepare(TOPIC, 1)
    service.advance(60)

    [check] = client.pull_checks("orders", wait_seconds=5)

    assert check.id == message.id
