"""Stories with a broker that has queues of its own."""

from aftercommit.ports.broker import Refused, Unavailable
from tests.service.world import BILLING, OPERATOR, ScriptedBroker, world


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
