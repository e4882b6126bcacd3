"""Applications and topics that change while messages flow."""

import asyncio

from aftercommit.domain.commands import CheckOutcome
from aftercommit.wire import AppRequest, SubscriptionRequest, TopicRequest
from tests.service.world import ORDERS, TOPIC, world


async def test_a_topic_registered_while_its_first_message_arrives_keeps_what_was_registered() -> None:
    async with world() as w:
        topic = TopicRequest(
            subscriptions=[SubscriptionRequest(name="billing", app="billing")], policy={"checks_max": 3}
        )
        app = AppRequest(check_url="http://127.0.0.1:1/")
        await asyncio.gather(
            w.services.registry.put_topic(ORDERS, TOPIC, topic),
            w.services.registry.put_app(ORDERS, "orders", app),
            *(w.prepare() for _ in range(5)),
        )
        shown = await w.services.registry.get_topic(TOPIC)
        assert [each.name for each in shown.subscriptions] == ["billing"]
        assert shown.policy["checks_max"] == 3
        assert (await w.services.registry.get_app(ORDERS, "orders")).check_url == "http://127.0.0.1:1/"


async def test_of_two_partial_changes_of_a_topic_at_once_neither_undoes_the_other() -> None:
    async with world() as w:
        await w.register()
        more = [SubscriptionRequest(name=each, app="billing") for each in ("billing", "shipping")]
        await asyncio.gather(
            w.services.registry.put_topic(ORDERS, TOPIC, TopicRequest(subscriptions=more)),
            w.services.registry.put_topic(ORDERS, TOPIC, TopicRequest(policy={"checks_max": 3})),
        )
        shown = await w.services.registry.get_topic(TOPIC)
        assert len(shown.subscriptions) == 2
        assert shown.policy["checks_max"] == 3


async def test_a_new_check_address_does_not_wait_for_what_the_old_one_did() -> None:
    async with world() as w:
        await w.register(check_after_seconds=1, check_interval_seconds=1)
        w.initiator.reachable = False
        message_id = await w.prepare()
        await w.clock.run(60)
        w.initiator.reachable = True
        w.initiator.outcomes[message_id] = CheckOutcome.COMMITTED
        await w.services.registry.put_app(ORDERS, "orders", AppRequest(check_url="http://127.0.0.1:2/"))
        await w.clock.run(2.5)
        assert await w.status(message_id) == "sent"
