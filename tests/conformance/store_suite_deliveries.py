"""The store suite, part three: several subscriptions, who may report what, and what an operator does."""

import pytest
from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Refusal
from aftercommit.domain.message import Due, DueKind
from tests.builders import BILLING, HOUR, MINUTE, SECOND, SHIPPING, message_id
from tests.conformance.store_case import TWO, Play, StoreCase, numbers, statuses


async def both(play: Play, word: str) -> None:
    """A message for billing and shipping in a status."""
    say = play.say()
    await play.do(say.prepare(confirmed=True))
    if word == "pending_send":
        return
    await play.do(say.accepted())
    if word == "undelivered":
        for name in TWO:
            await play.do(say.pull(name), say.pull(name), say.expire(name))
    if word in ("completed", "failed"):
        for name in TWO:
            await play.do(say.complete(name) if word == "completed" else say.fail(name))
    assert statuses(await play.state()) == [word, word]


class DeliverySuite(StoreCase):
    """The consumer's side."""

    async def test_a_message_is_completed_when_every_delivery_is(self, two: Play) -> None:
        await both(two, "sent")
        say = two.say()

        first = await two.one(say.complete("billing"))
        second = await two.one(say.complete("shipping"))

        assert (first.status, second.status) == ("sent", "completed")
        message = await two.state()
        assert (message.settled_at, [each.settled_at for each in message.deliveries]) == (two.now, [two.now, two.now])

    @pytest.mark.parametrize("order", [("billing", "shipping"), ("shipping", "billing")])
    async def test_one_failed_delivery_makes_a_failed_message(self, two: Play, order: tuple[str, str]) -> None:
        await both(two, "sent")
        say = two.say()

        await two.do(say.complete(order[0]))
        outcome = await two.one(say.fail(order[1], reason="no stock"))

        message = await two.state()
        assert (outcome.status, message.error) == ("failed", "no stock")
        assert sorted(statuses(message)) == ["completed", "failed"]

    async def test_a_failed_delivery_does_not_end_the_other(self, two: Play) -> None:
        await both(two, "sent")
        say = two.say()

        outcome = await two.one(say.fail("billing"))

        assert (outcome.status, (await two.state()).settled_at) == ("sent", None)
        assert (await two.one(say.complete("shipping"))).status == "failed"

    async def test_a_delivery_given_up_shows_before_a_failed_one(self, two: Play) -> None:
        await both(two, "undelivered")

        outcome = await two.one(two.say().fail("billing"))

        assert outcome.status == "undelivered"
        assert (await two.one(two.say().complete("shipping"))).status == "failed"

    async def test_a_fast_consumer_may_report_before_the_message_is_sent(self, two: Play) -> None:
        await both(two, "pending_send")
        say = two.say()

        outcome = await two.one(say.complete("billing"))
        assert (outcome.status, statuses(await two.state())) == ("pending_send", ["completed", "pending_send"])

        await two.do(say.accepted())
        assert statuses(await two.state()) == ["completed", "sent"]
        assert [(each.lane) for each in await two.store.due_lanes(DueKind.PULL)] == [
            two.world.subscriptions["shipping"]
        ]

    async def test_when_all_report_early_nothing_is_left_to_send(self, two: Play) -> None:
        await both(two, "pending_send")

        await two.do(two.say().complete("billing"), two.say().complete("shipping"))

        assert (await two.state()).status == "completed"
        assert await two.store.due_lanes(DueKind.SEND) == []

    async def test_a_report_for_another_applications_subscription_is_unknown(self, two: Play) -> None:
        await both(two, "sent")
        before = await two.state()

        outcome = await two.one(two.say().complete("billing", app=two.world.shipping))

        assert (outcome.refusal, outcome.status) == (Refusal.UNKNOWN_MESSAGE, None)
        assert await two.state() == before

    async def test_the_initiator_reports_for_nobody(self, two: Play) -> None:
        await both(two, "sent")
        say = two.say()

        outcomes = await two.do(
            say.complete(app=two.world.orders),
            say.complete("billing", app=two.world.orders),
            say.complete("nobody", app=two.world.orders),
        )

        assert [each.refusal for each in outcomes] == [
            "unknown_message",
            "unknown_message",
            "unknown_subscription",
        ]

    async def test_the_subscription_may_be_left_out_where_one_is_the_callers(self, two: Play) -> None:
        await both(two, "sent")

        outcome = await two.one(two.say().complete(app=two.world.billing))

        assert (outcome.refusal, statuses(await two.state())) == (None, ["completed", "sent"])

    async def test_the_subscription_must_be_named_where_several_are_the_callers(self, two: Play) -> None:
        await two.change_world({"billing": BILLING, "audit": BILLING, "shipping": SHIPPING})
        say = two.say()
        await two.do(say.prepare(confirmed=True), say.accepted())

        left_out = await two.one(say.complete(app=two.world.billing))
        named = await two.one(say.complete("audit"))

        assert (left_out.refusal, named.refusal) == (Refusal.SUBSCRIPTION_REQUIRED, None)
        names = {each: name for name, each in two.world.subscriptions.items()}
        found = {names[each.subscription]: each.status.value for each in (await two.state()).deliveries}
        assert found == {"billing": "sent", "audit": "completed", "shipping": "sent"}

    async def test_an_unknown_subscription_is_said_to_be_unknown(self, two: Play) -> None:
        await both(two, "sent")

        outcome = await two.one(two.say().complete("nobody", app=two.world.billing))

        assert (outcome.refusal, outcome.status) == (Refusal.UNKNOWN_SUBSCRIPTION, "sent")

    async def test_a_subscription_added_later_reports_without_effect(self, two: Play) -> None:
        await both(two, "sent")
        await two.change_world(TWO | {"audit": SHIPPING})
        before = await two.state()

        outcomes = await two.do(two.say().complete("audit"), two.say().fail("audit"))

        assert [(each.refusal, each.status, each.changed) for each in outcomes] == [(None, "sent", False)] * 2
        assert await two.state() == before
        stranger = await two.one(two.say().complete("audit", app=two.world.billing))
        assert stranger.refusal == Refusal.UNKNOWN_MESSAGE

    @pytest.mark.parametrize("way", ["prepared", "checks used up", "cancelled"])
    async def test_a_consumer_hears_that_nothing_was_delivered(self, two: Play, way: str) -> None:
        # given the consumer owns a subscription of the topic
        await two.change_world({"default": BILLING})
        await two.come(way)

        outcomes = await two.do(two.say().complete("default"), two.say().fail(app=two.world.billing))

        assert [each.refusal for each in outcomes] == ["not_delivered", "not_delivered"]

    async def test_an_implicit_subscription_is_reported_by_the_initiator(self, play: Play) -> None:
        await play.come("pulled")

        assert (await play.one(play.say().complete(app=play.world.orders))).status == "completed"

    async def test_a_completed_message_keeps_no_error(self, play: Play) -> None:
        await play.come("completed after it was given up")

        message = await play.state()
        assert (message.error, message.deliveries[0].error) == (None, None)

    async def test_a_report_has_no_second_effect(self, two: Play) -> None:
        await both(two, "sent")
        say = two.say()
        await two.do(say.complete("billing"))
        before = await two.state()
        two.later(MINUTE)

        again = await two.one(say.complete("billing"))
        contrary = await two.one(say.fail("billing"))

        assert (again.refusal, again.changed) == (None, False)
        assert contrary.refusal == Refusal.INVALID_TRANSITION
        assert await two.state() == before


class OperationSuite(StoreCase):
    """The operator's side."""

    async def test_an_undelivered_message_gets_fresh_budgets(self, two: Play) -> None:
        await both(two, "undelivered")

        outcome = await two.one(two.say().redeliver())

        message = await two.state()
        assert outcome.status == "pending_send"
        assert {(each.attempts, each.refusals, each.error) for each in message.deliveries} == {(0, 0, None)}
        assert [(each.kind, each.lane, each.at) for each in await two.store.due_lanes(DueKind.SEND)] == [
            (DueKind.SEND, two.world.topic, two.now)
        ]

    async def test_one_delivery_is_redelivered_alone(self, two: Play) -> None:
        await both(two, "undelivered")

        await two.do(two.say().redeliver("shipping"))
        assert statuses(await two.state()) == ["undelivered", "pending_send"]

        await two.do(two.say().accepted())
        assert statuses(await two.state()) == ["undelivered", "sent"]
        assert (await two.state()).status == "sent"

    async def test_a_message_that_waits_twice_in_a_lane_is_due_at_the_earlier_time(self, two: Play) -> None:
        # given two dead letters, one of them redelivered and refused once more, then the other redelivered
        await both(two, "undelivered")
        await two.do(two.say().redeliver("shipping"), two.say().refused(final=False), two.say().redeliver("billing"))
        lane = [(each.lane, each.at) for each in await two.store.due_lanes(DueKind.SEND)]
        assert lane == [(two.world.topic, two.now)]

        # when the earlier one is settled, the later one still waits for its time
        await two.do(two.say().complete("billing"))

        later = [(each.lane, each.at) for each in await two.store.due_lanes(DueKind.SEND)]
        assert later == [(two.world.topic, two.now + SECOND)]
        claim = c.ClaimSends(topic=two.world.topic, limit=9)
        assert numbers(await two.claim(claim)) == []
        two.later(SECOND)
        assert numbers(await two.claim(claim)) == [1]

    async def test_a_waiting_message_is_made_due_now(self, play: Play) -> None:
        await play.come("delayed")

        await play.do(play.say().redeliver())

        assert (await play.state()).due == Due(DueKind.SEND, play.world.topic, play.now)

    async def test_a_settled_message_is_sent_again_as_a_linked_copy(self, two: Play) -> None:
        # given
        await both(two, "sent")
        await two.do(two.say().fail("billing"), two.say().complete("shipping"))
        before = await two.state()
        two.later(HOUR)

        # when
        outcome = await two.one(two.say().redeliver(replay=2))

        # then
        replay = await two.state(2)
        assert (outcome.id, outcome.status, outcome.created, outcome.changed) == (
            message_id(2),
            "pending_send",
            True,
            True,
        )
        assert outcome.message == replay
        assert (replay.replay_of, replay.version, replay.app, replay.prepared_at) == (
            message_id(1),
            1,
            before.app,
            two.now,
        )
        assert [each.subscription for each in replay.deliveries] == [two.world.subscriptions["billing"]]
        assert await two.content(2) == await two.content(1)
        assert await two.state() == before
        told = (await two.events())[-1]
        assert (told.event, told.actor, message_id(2) in str(told.detail)) == ("replayed", "olga", True)

    async def test_repeating_it_while_the_copy_lives_answers_the_copy(self, play: Play) -> None:
        await play.come("failed")
        await play.do(play.say().redeliver(replay=2))
        events = await play.events()

        outcome = await play.one(play.say().redeliver(replay=3))

        assert (outcome.id, outcome.refusal, outcome.created, outcome.changed) == (message_id(2), None, False, False)
        assert outcome.message == await play.state(2)
        assert await play.store.get(message_id(3)) is None
        assert await play.events() == events

    async def test_repeating_it_in_the_same_write_answers_the_copy(self, play: Play) -> None:
        await play.come("failed")

        outcomes = await play.do(play.say().redeliver(replay=2), play.say().redeliver(replay=3))

        assert [(each.id, each.created) for each in outcomes] == [(message_id(2), True), (message_id(2), False)]

    async def test_once_the_copy_is_settled_there_may_be_another(self, play: Play) -> None:
        await play.come("failed")
        await play.do(play.say().redeliver(replay=2))
        await play.do(play.say(2).complete())

        outcome = await play.one(play.say().redeliver(replay=3))

        assert (outcome.id, outcome.created) == (message_id(3), True)

    async def test_a_copy_for_other_subscriptions_is_another_copy(self, two: Play) -> None:
        await both(two, "failed")

        outcomes = await two.do(
            two.say().redeliver("billing", replay=2),
            two.say().redeliver("shipping", replay=3),
            two.say().redeliver(replay=4),
            two.say().redeliver("shipping", replay=5),
        )

        assert [each.id for each in outcomes] == [message_id(number) for number in (2, 3, 4, 3)]

    async def test_a_copy_never_takes_the_id_of_another_message(self, play: Play) -> None:
        await play.come("failed", 1)
        other = await play.come("completed", 2)

        outcome = await play.one(play.say(1).redeliver(replay=2))

        assert (outcome.refusal, outcome.changed) == (Refusal.ID_CONFLICT, False)
        assert await play.state(2) == other

    async def test_a_copy_can_itself_be_copied(self, play: Play) -> None:
        await play.come("failed")
        await play.do(play.say().redeliver(replay=2))
        await play.do(play.say(2).fail())

        await play.do(play.say(2).redeliver(replay=3))

        assert (await play.state(3)).replay_of == message_id(2)
        assert await play.content(3) == await play.content(1)

    async def test_discarding_fails_what_is_open(self, two: Play) -> None:
        await both(two, "sent")
        await two.do(two.say().complete("billing"))

        outcome = await two.one(two.say().discard())

        message = await two.state()
        assert (outcome.status, statuses(message)) == ("failed", ["completed", "failed"])
        assert (message.error, message.due, message.deliveries[1].due) == ("given up", None, None)
        told = (await two.events())[-1]
        assert (told.event, told.actor, told.detail) == ("discarded", "olga", "given up")

    async def test_a_resolution_is_signed_and_told(self, play: Play) -> None:
        await play.come("resolved as committed")

        message, told = await play.state(), (await play.events())[-1]
        assert (message.status, message.resolved_by) == ("pending_send", "olga")
        assert (told.event, told.status, told.actor, told.detail) == (
            "resolved",
            "pending_send",
            "olga",
            "looked it up",
        )

    async def test_a_recheck_is_due_now(self, play: Play) -> None:
        await play.come("checks used up")

        await play.do(play.say().recheck())

        assert (await play.state()).due == Due(DueKind.CHECK, play.world.orders, play.now)

    async def test_an_operator_of_the_application_may_do_the_same(self, play: Play) -> None:
        await play.come("pulls used up")

        outcome = await play.one(replace(play.say().redeliver(), app=play.world.orders))

        assert (outcome.refusal, outcome.status) == (None, "pending_send")
