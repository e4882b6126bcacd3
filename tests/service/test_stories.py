"""Stories through the services, on memory back ends, with time in the test's hands."""

import asyncio

from aftercommit.domain.commands import CheckOutcome
from aftercommit.domain.lifecycle import Refusal
from aftercommit.wire import AppRequest, CheckResult, RedeliverRequest, ResolveRequest
from tests.service.world import BILLING, OPERATOR, ORDERS, TOPIC, world


async def test_a_confirmed_message_is_pulled_once_and_completed() -> None:
    async with world() as w:
        await w.register()
        message_id = await w.confirmed()
        await w.clock.settle()

        pulled = await w.pull()
        again = await w.pull()
        outcome = await w.services.reports.complete(BILLING, message_id, None)

        assert [each.id for each in pulled] == [message_id]
        assert pulled[0].attempt == 1
        assert again == []
        assert outcome.status == "completed"
        assert await w.status(message_id) == "completed"


async def test_a_prepared_message_is_not_delivered() -> None:
    async with world() as w:
        await w.register(check_after_seconds=600)
        await w.prepare()
        await w.clock.run(60)
        assert await w.pull() == []


async def test_a_waiting_consumer_gets_a_message_when_it_is_sent() -> None:
    async with world() as w:
        await w.register()
        pull = asyncio.create_task(w.services.pulling.pull(BILLING, "orders.created", "billing", 1, 30))
        await w.clock.settle()
        message_id = await w.confirmed()
        await w.clock.settle()
        assert [each.id for each in await pull] == [message_id]


async def test_one_message_wakes_one_of_two_waiting_consumers_and_the_next_wakes_the_other() -> None:
    async with world() as w:
        await w.register()
        pulls = [
            asyncio.create_task(w.services.pulling.pull(BILLING, "orders.created", "billing", 1, 30)) for _ in range(2)
        ]
        await w.clock.settle()
        first = await w.confirmed()
        await w.clock.settle()
        assert sum(pull.done() for pull in pulls) == 1
        second = await w.confirmed()
        await w.clock.settle()
        assert {each.id for pull in pulls for each in await pull} == {first, second}


async def test_a_waiting_consumer_goes_home_with_nothing_when_its_time_is_up() -> None:
    async with world() as w:
        await w.register()
        pull = asyncio.create_task(w.services.pulling.pull(BILLING, "orders.created", "billing", 1, 3))
        await w.clock.run(4)
        assert pull.done()
        assert await pull == []


async def test_an_unreported_delivery_comes_back_at_its_time_until_the_budget_is_used_up() -> None:
    async with world() as w:
        await w.register(redelivery_seconds=[5, 10], deliveries_max=2)
        message_id = await w.confirmed()
        await w.clock.settle()
        assert [each.attempt for each in await w.pull()] == [1]

        await w.clock.run(4.9)
        assert await w.pull() == []
        await w.clock.run(0.2)
        assert [each.attempt for each in await w.pull()] == [2]
        await w.clock.run(9)
        assert await w.status(message_id) == "sent"
        await w.clock.run(3)

        assert await w.status(message_id) == "undelivered"
        assert "undelivered" in w.observer.alerted()
        await w.services.operation.redeliver(OPERATOR, message_id, RedeliverRequest())
        await w.clock.settle()
        assert [each.attempt for each in await w.pull()] == [1]


async def test_a_message_nobody_pulls_uses_up_nothing() -> None:
    async with world() as w:
        await w.register(redelivery_seconds=[1], deliveries_max=1)
        message_id = await w.confirmed()
        await w.clock.run(3600)
        assert await w.status(message_id) == "sent"
        assert [each.attempt for each in await w.pull()] == [1]


async def test_a_forgotten_message_is_checked_and_delivered_if_committed() -> None:
    async with world() as w:
        await w.register(check_after_seconds=10)
        message_id = await w.prepare(check_hint="shard-3", key="42")
        w.initiator.outcomes[message_id] = CheckOutcome.COMMITTED
        await w.clock.run(9)
        assert w.initiator.calls == []

        await w.clock.run(2)

        question = w.initiator.calls[0][0]
        assert (question.id, question.hint, question.key, question.check) == (message_id, "shard-3", "42", 1)
        assert [each.id for each in await w.pull()] == [message_id]


async def test_a_check_that_says_rolled_back_ends_it_and_a_late_confirm_is_refused() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1)
        message_id = await w.prepare()
        w.initiator.outcomes[message_id] = CheckOutcome.ROLLED_BACK
        await w.clock.run(3)
        outcome = await w.services.intake.confirm(ORDERS, message_id)
        assert outcome.refusal is Refusal.ROLLED_BACK
        assert w.observer.counted("contradictions") == 1


async def test_unknown_answers_use_up_the_budget_and_then_it_is_undecided_but_still_asked() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, check_interval_seconds=1, check_interval_max_seconds=2, checks_max=3)
        message_id = await w.prepare()
        await w.clock.run(20)
        assert await w.status(message_id) == "undecided"
        assert len(w.initiator.calls) == 3

        w.initiator.outcomes[message_id] = CheckOutcome.COMMITTED
        await w.clock.run(3602)

        assert await w.status(message_id) == "sent"


async def test_an_initiator_that_cannot_be_reached_costs_no_budget_until_the_limit_has_passed() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, check_interval_seconds=1, check_interval_max_seconds=10, checks_max=3)
        w.initiator.reachable = False
        message_id = await w.prepare()
        await w.clock.run(25)
        answer = await w.services.inspection.get(OPERATOR, message_id)
        assert (answer.status, answer.checks) == ("pending_confirmation", 0)

        await w.clock.run(30)

        assert await w.status(message_id) == "undecided"


async def test_an_application_without_an_address_fetches_its_checks() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, checks_max=2, check_interval_seconds=5)
        await w.services.registry.put_app(ORDERS, "orders", AppRequest())
        message_id = await w.prepare()
        await w.clock.run(30)

        checks = await w.services.checking.pull(ORDERS, "orders", 10, 0)
        assert [(each.id, each.check) for each in checks] == [(message_id, 1)]
        assert await w.services.checking.pull(ORDERS, "orders", 10, 0) == []
        await w.services.checking.answer(ORDERS, "orders", [CheckResult(id=message_id, outcome="committed")])
        await w.clock.settle()

        assert [each.id for each in await w.pull()] == [message_id]


async def test_checks_nobody_can_make_end_undecided_after_the_limit() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, checks_max=2, check_interval_max_seconds=30)
        await w.services.registry.put_app(ORDERS, "orders", AppRequest())
        message_id = await w.prepare()
        await w.clock.run(55)
        assert await w.status(message_id) == "pending_confirmation"
        await w.clock.run(10)
        assert await w.status(message_id) == "undecided"


async def test_resolving_asks_once_more_and_a_definitive_answer_wins() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, checks_max=1)
        decided, evident = await w.prepare(), await w.prepare()
        await w.clock.run(5)
        w.initiator.outcomes[evident] = CheckOutcome.ROLLED_BACK
        request = ResolveRequest(outcome="committed", reason="seen in the ledger")

        by_operator = await w.services.operation.resolve(OPERATOR, decided, request)
        by_evidence = await w.services.operation.resolve(OPERATOR, evident, request)

        assert by_operator.status == "pending_send"
        assert by_evidence.status == "rolled_back"
        shown = await w.services.inspection.get(OPERATOR, decided)
        assert shown.resolved_by == "default"
        assert "seen in the ledger" in [each.detail for each in shown.timeline]


async def test_evidence_against_a_resolution_is_refused_and_alerted() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, checks_max=1)
        message_id = await w.prepare()
        await w.clock.run(5)
        request = ResolveRequest(outcome="rolled_back", reason="customer gone")
        await w.services.operation.resolve(OPERATOR, message_id, request)

        outcome = await w.services.intake.confirm(ORDERS, message_id)

        assert outcome.refusal is Refusal.ROLLED_BACK
        assert "resolution_contradicted" in w.observer.alerted()


async def test_a_delayed_message_is_sent_when_it_is_due() -> None:
    async with world() as w:
        await w.register()
        await w.confirmed(delay_seconds=7.5)
        await w.clock.run(7)
        assert await w.pull() == []
        await w.clock.run(1)
        assert len(await w.pull()) == 1


async def test_a_paused_topic_sends_and_hands_out_nothing_until_it_is_resumed() -> None:
    async with world() as w:
        await w.register()
        before = await w.confirmed()
        await w.clock.settle()
        await w.services.registry.pause("orders.created")
        after = await w.confirmed()
        await w.clock.run(10)
        assert await w.pull() == []
        assert await w.status(after) == "pending_send"

        await w.services.registry.resume("orders.created")
        await w.clock.settle()

        assert {each.id for each in await w.pull()} == {before, after}


async def test_settled_messages_are_forgotten_after_their_retention_and_live_ones_never() -> None:
    async with world() as w:
        await w.register(retention_seconds=100, check_after_seconds=100000)
        done, live = await w.confirmed(), await w.prepare()
        await w.clock.settle()
        await w.pull()
        await w.services.reports.complete(BILLING, done, None)
        await w.clock.run(90)
        assert await w.status(done) == "completed"
        await w.clock.run(200)
        found = await w.services.intake.statuses(OPERATOR, [done, live])
        assert [each.refusal for each in found] == [Refusal.UNKNOWN_MESSAGE, None]


async def test_the_timeline_tells_what_a_check_decided_and_in_which_order() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1)
        committed, rolled_back = await w.prepare(), await w.prepare()
        w.initiator.outcomes = {committed: CheckOutcome.COMMITTED, rolled_back: CheckOutcome.ROLLED_BACK}
        await w.clock.run(3)
        timelines = [(await w.services.inspection.get(OPERATOR, each)).timeline for each in (committed, rolled_back)]
        told = [[(each.event, each.status) for each in timeline] for timeline in timelines]
        assert told == [
            [("prepared", "pending_confirmation"), ("checked", "pending_send"), ("sent", "sent")],
            [("prepared", "pending_confirmation"), ("checked", "rolled_back")],
        ]


async def test_resuming_wakes_every_waiting_consumer() -> None:
    async with world() as w:
        await w.register()
        await w.services.registry.pause(TOPIC)
        ids = {await w.confirmed() for _ in range(3)}
        pulls = [asyncio.create_task(w.services.pulling.pull(BILLING, TOPIC, "billing", 1, 30)) for _ in range(3)]
        await w.clock.settle()
        await w.services.registry.resume(TOPIC)
        await w.clock.run(0.1)
        assert {each.id for pull in pulls for each in await pull} == ids


async def test_redelivering_does_not_cut_the_last_attempt_short() -> None:
    async with world() as w:
        await w.register(redelivery_seconds=[600], deliveries_max=1)
        message_id = await w.confirmed()
        await w.clock.settle()
        await w.pull()
        outcome = await w.services.operation.redeliver(OPERATOR, message_id, RedeliverRequest())
        await w.clock.run(10)
        assert (outcome.status, await w.status(message_id)) == ("sent", "sent")


async def test_a_time_long_past_is_due_at_once_and_can_be_shown() -> None:
    async with world() as w:
        await w.register()
        message_id = await w.confirmed(deliver_at="0001-01-01T00:00:00+14:00")
        await w.clock.settle()
        shown = await w.services.inspection.get(OPERATOR, message_id)
        assert (shown.status, shown.deliver_at) == ("sent", "1970-01-01T00:00:00.000Z")
