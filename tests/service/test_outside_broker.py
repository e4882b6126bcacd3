"""Stories with a broker that has queues of its own."""

import pytest

from aftercommit.domain.errors import Conflict
from aftercommit.ports.broker import Refused, Route, Unavailable
from tests.service.world import BILLING, OPERATOR, TOPIC, ScriptedBroker, world


async def test_an_outside_broker_gets_each_message_once_and_again_when_nobody_reports() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        await w.register(redelivery_seconds=[5], deliveries_max=2)
        message_id = await w.confirmed()
        await w.clock.settle()
        assert [(each.id, each.attempt, each.subscriptions) for each in broker.published] == [(message_id, 1, None)]
        await w.clock.run(7)
        assert [(each.attempt, each.subscriptions) for each in broker.published[1:]] == [(2, ("billing",))]
        await w.clock.run(7)
        assert len(broker.published) == 2
        assert await w.status(message_id) == "undelivered"


async def test_a_broker_that_is_down_uses_no_budget_and_gets_everything_when_it_is_back() -> None:
    broker = ScriptedBroker()
    broker.otherwise = Unavailable("connection refused")
    async with world(broker) as w:
        await w.register(publish_attempts_max=1)
        ids = {await w.confirmed() for _ in range(5)}
        await w.clock.run(120)
        assert broker.published == []
        shown = await w.services.inspection.get(OPERATOR, next(iter(ids)))
        assert (shown.status, shown.attempts) == ("pending_send", 0)

        broker.otherwise = None
        await w.clock.run(20)

        assert {each.id for each in broker.published} == ids


async def test_a_message_the_broker_refuses_is_offered_again_and_then_parked() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        await w.register(publish_attempts_max=2, publish_retry_seconds=3)
        broker.answers = [Refused("queue full"), Refused("queue full")]
        message_id = await w.confirmed()
        await w.clock.settle()
        assert await w.status(message_id) == "pending_send"
        await w.clock.run(10)
        assert await w.status(message_id) == "undelivered"
        assert broker.published == []


async def test_a_redelivery_is_aimed_at_the_subscription_that_has_not_settled() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        await w.register(("billing", "shipping"), redelivery_seconds=[5])
        message_id = await w.confirmed()
        await w.clock.settle()
        await w.services.reports.complete(BILLING, message_id, "billing")
        await w.clock.run(7)
        assert [(each.attempt, each.subscriptions) for each in broker.published] == [(1, None), (2, ("shipping",))]


async def test_two_subscriptions_that_do_not_settle_are_each_sent_to_alone() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        await w.register(("billing", "shipping"), redelivery_seconds=[5])
        await w.confirmed()
        await w.clock.run(7)
        assert sorted(str(each.subscriptions) for each in broker.published[1:]) == ["('billing',)", "('shipping',)"]


async def test_a_broker_learns_who_listens_before_a_topics_first_message() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        assert broker.opened
        await w.register(("billing", "shipping"))
        assert broker.declared[-1] == Route(topic=TOPIC, subscriptions=("billing", "shipping"), dropped=("default",))
        told = len(broker.declared)
        await w.confirmed()
        await w.confirmed()
        await w.clock.settle()
        assert len(broker.declared) == told

        await w.confirmed(topic="nobody.registered")
        await w.clock.settle()
        assert broker.declared[told:] == [Route(topic="nobody.registered", subscriptions=("default",))]


async def test_a_broker_learns_of_a_subscription_that_is_gone() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        await w.register(("billing", "shipping"))
        await w.register(("billing",))
        assert broker.declared[-1] == Route(topic=TOPIC, subscriptions=("billing",), dropped=("default", "shipping"))


async def test_nothing_is_claimed_for_a_broker_in_trouble_and_all_goes_out_when_the_trouble_is_over() -> None:
    broker = ScriptedBroker()
    broker.trouble = "connection refused"
    async with world(broker) as w:
        await w.register(publish_attempts_max=1)
        ids = {await w.confirmed() for _ in range(5)}
        await w.clock.run(600)
        assert broker.published == []
        ready, report = await w.services.readiness.report()
        assert (ready, report["broker"]) == (True, "connection refused")

        broker.trouble = None
        await w.clock.run(0.5)

        assert {each.id for each in broker.published} == ids
        assert (await w.services.readiness.report())[1]["broker"] == "ok"


async def test_a_redelivery_waits_for_a_broker_in_trouble_without_using_budget() -> None:
    broker = ScriptedBroker()
    async with world(broker) as w:
        await w.register(redelivery_seconds=[5], deliveries_max=3)
        message_id = await w.confirmed()
        await w.clock.settle()
        broker.trouble = "connection refused"
        await w.clock.run(60)
        assert await w.status(message_id) == "sent"
        broker.trouble = None
        await w.clock.run(3)
        assert [each.attempt for each in broker.published] == [1, 2]


async def test_who_began_to_listen_after_the_confirm_is_not_meant() -> None:
    broker = ScriptedBroker()
    broker.trouble = "connection refused"
    async with world(broker) as w:
        await w.register(("billing",))
        await w.confirmed()
        await w.register(("billing", "shipping"))
        await w.confirmed()
        broker.trouble = None
        await w.clock.run(1)
        assert [each.subscriptions for each in broker.published] == [("billing",), None]


async def test_pulling_from_a_topic_of_an_outside_broker_is_refused() -> None:
    async with world(ScriptedBroker()) as w:
        await w.register()
        await w.confirmed()
        with pytest.raises(Conflict) as refused:
            await w.pull()
        assert refused.value.code == "pull_not_available"
