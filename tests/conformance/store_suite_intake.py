"""The store suite, part two: prepare, confirm and cancel, batches, versions and atomic writes."""

import asyncio

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.catalog import remove_topic
from aftercommit.domain.lifecycle import Refusal, Status
from aftercommit.domain.message import Claimed, Due, DueKind, Outcome, PayloadForm
from tests.builders import BILLING, DAY, HOUR, MINUTE, TOPIC, make_content, make_prepare, message_id
from tests.conformance.store_case import TWO, Play, StoreCase, statuses


class IntakeSuite(StoreCase):
    """The initiator's side."""

    async def test_a_prepared_message_is_stored_as_it_was_given(self, play: Play) -> None:
        # given
        content = make_content(
            b"\x00\xff\r\n not text",
            form=PayloadForm.BYTES,
            content_type="application/octet-stream",
            key="k\u00e4se",
            headers=[("b", "2"), ("a", "1")],
            check_hint="shard-3",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        prepare = make_prepare(play.world, content=content, delay=HOUR)

        # when
        outcome = await play.one(prepare)

        # then
        stored = await play.store.get(prepare.id)
        assert stored is not None
        assert (stored.message, stored.content, stored.events) == (prepare.message, content, ())
        assert (outcome.status, outcome.changed, outcome.created) == ("pending_confirmation", True, True)
        assert outcome.message == stored.message
        assert stored.message.version == 1

    async def test_an_empty_payload_is_a_payload(self, play: Play) -> None:
        content = make_content(b"", form=PayloadForm.BYTES)
        await play.do(make_prepare(play.world, content=content))

        assert await play.content() == content

    @pytest.mark.parametrize(
        "way", ["prepared", "confirmed", "pulled", "completed", "failed", "checks used up", "pulls used up"]
    )
    async def test_the_same_content_again_answers_the_present_status(self, play: Play, way: str) -> None:
        before = await play.come(way)

        outcome = await play.one(make_prepare(play.world))

        assert (outcome.refusal, outcome.status) == (None, before.status)
        assert (outcome.changed, outcome.created, outcome.message) == (False, False, before)
        assert await play.state() == before

    @pytest.mark.parametrize("way", ["prepared", "completed", "cancelled"])
    async def test_other_content_is_a_conflict(self, play: Play, way: str) -> None:
        before = await play.come(way)

        outcome = await play.one(make_prepare(play.world, content=make_content(b"other")))

        assert (outcome.refusal, outcome.status) == (Refusal.ID_CONFLICT, before.status)
        assert await play.state() == before
        assert await play.content() == make_content()

    async def test_other_content_is_a_conflict_also_where_a_claim_comes_upon_the_message(self, play: Play) -> None:
        await play.do(play.say().prepare(), play.say().confirm())

        claimed, outcome = await play.write(
            c.ClaimSends(topic=play.world.topic, limit=5), make_prepare(play.world, content=make_content(b"other"))
        )

        assert isinstance(claimed, Claimed)
        assert isinstance(outcome, Outcome)
        assert (len(claimed.taken), outcome.refusal) == (1, Refusal.ID_CONFLICT)

    async def test_another_applications_id_is_a_conflict(self, play: Play) -> None:
        await play.come("prepared")

        outcome = await play.one(make_prepare(play.world, app=play.world.billing))

        assert outcome.refusal == Refusal.ID_CONFLICT

    @pytest.mark.parametrize("way", ["cancelled", "check said rolled back", "cancelled before it was prepared"])
    async def test_a_prepare_that_comes_after_the_roll_back_is_refused(self, play: Play, way: str) -> None:
        await play.come(way)

        outcome = await play.one(make_prepare(play.world))

        assert (outcome.refusal, outcome.status) == (Refusal.ROLLED_BACK, Status.ROLLED_BACK)
        assert (await play.state()).status == "rolled_back"

    async def test_a_tombstone_is_its_own_applications(self, play: Play) -> None:
        await play.come("cancelled before it was prepared")

        outcome = await play.one(make_prepare(play.world, app=play.world.billing))

        assert outcome.refusal == Refusal.ID_CONFLICT

    async def test_a_cancel_of_an_unknown_id_leaves_a_tombstone(self, play: Play) -> None:
        outcome = await play.one(play.say().cancel(tombstone=True, reason="given up"))

        assert (outcome.status, outcome.changed) == ("rolled_back", True)
        stored = await play.store.get(message_id(1))
        assert stored is not None
        assert (stored.message.topic, stored.content) == (None, None)
        assert (stored.message.version, stored.message.error) == (1, "given up")
        assert (stored.message.prepared_at, stored.message.settled_at) == (play.now, play.now)

        again = await play.one(play.say().cancel(tombstone=True))
        assert (again.refusal, again.status, again.changed) == (None, "rolled_back", False)

    async def test_without_leave_to_bury_a_cancel_of_an_unknown_id_stores_nothing(self, play: Play) -> None:
        outcome = await play.one(play.say().cancel())

        assert outcome.refusal == Refusal.UNKNOWN_MESSAGE
        assert await play.store.get(message_id(1)) is None

    async def test_a_cancel_that_meets_its_prepare_is_a_cancel(self, play: Play) -> None:
        say = play.say()

        await asyncio.gather(play.do(say.prepare()), play.do(say.cancel(tombstone=True)))

        assert (await play.state()).status == "rolled_back"

    async def test_a_prepare_for_a_topic_removed_meanwhile_is_refused(self, play: Play) -> None:
        prepare = play.say().prepare()
        await play.store.edit_catalog(lambda catalog: remove_topic(catalog, TOPIC, play.now), play.now)

        outcome = await play.one(prepare)

        assert (outcome.refusal, outcome.status) == (Refusal.UNKNOWN_TOPIC, None)
        assert await play.store.get(prepare.id) is None

    async def test_a_message_prepared_as_confirmed_is_to_be_sent_at_once(self, play: Play) -> None:
        outcome = await play.one(play.say().prepare(confirmed=True))

        message = await play.state()
        assert (outcome.status, outcome.created) == ("pending_send", True)
        assert message.due == Due(DueKind.SEND, play.world.topic, play.now)
        assert (message.confirmed_at, statuses(message)) == (play.now, ["pending_send"])

    async def test_a_delay_counts_from_prepare(self, play: Play) -> None:
        await play.do(play.say(1).prepare(delay=HOUR), play.say(2).prepare(delay=HOUR))

        play.later(MINUTE)
        await play.do(play.say(1).confirm())
        play.later(DAY)
        await play.do(play.say(2).confirm())

        early, late = await play.state(1), await play.state(2)
        assert early.due == Due(DueKind.SEND, play.world.topic, play.now - DAY - MINUTE + HOUR)
        assert late.due == Due(DueKind.SEND, play.world.topic, play.now)

    async def test_confirming_fixes_the_subscriptions_of_that_moment(self, play: Play) -> None:
        await play.do(play.say(1).prepare(), play.say(2).prepare(), play.say(3).prepare())

        await play.do(play.say(1).confirm())
        await play.change_world({"billing": BILLING})
        await play.do(play.say(2).confirm())
        await play.change_world(TWO)
        await play.do(play.say(3).confirm())
        await play.change_world(TWO | {"third": BILLING})

        names = {each: name for name, each in play.world.subscriptions.items()}
        found = [[names[each.subscription] for each in (await play.state(n)).deliveries] for n in (1, 2, 3)]
        assert found == [["default"], ["billing"], ["billing", "shipping"]]

    async def test_the_version_counts_the_writes_of_a_message_without_a_gap(self, play: Play) -> None:
        say = play.say()
        versions = []
        for command in (
            say.prepare(),
            say.confirm(),
            say.confirm(),
            say.accepted(),
            say.cancel(),
            say.pull(),
            say.complete(),
            say.complete(),
        ):
            outcome = await play.one(command)
            assert outcome.message is not None
            assert outcome.message == await play.state()
            versions.append(outcome.message.version)

        assert versions == [1, 2, 2, 3, 3, 4, 5, 5]

    async def test_several_changes_in_one_write_count_as_one(self, play: Play) -> None:
        say = play.say()

        first = await play.do(say.prepare(), say.confirm())
        second = await play.do(say.accepted(), say.pull(), say.complete())

        assert [each.message.version for each in first if each.message] == [1, 1]
        assert [each.message.version for each in second if each.message] == [2, 2, 2]
        assert (await play.state()).version == 2

    async def test_work_on_the_same_id_applies_in_order(self, play: Play) -> None:
        say = play.say()

        outcomes = await play.do(
            say.confirm(), say.prepare(), say.prepare(), say.confirm(), say.cancel(), say.complete(), say.fail()
        )

        assert [each.refusal or each.status for each in outcomes] == [
            "unknown_message",
            "pending_confirmation",
            "pending_confirmation",
            "pending_send",
            "already_confirmed",
            "completed",
            "invalid_transition",
        ]
        assert [each.created for each in outcomes] == [False, True, False, False, False, False, False]

    async def test_a_tombstone_and_its_prepare_in_one_write_apply_in_order(self, play: Play) -> None:
        say = play.say()

        outcomes = await play.do(say.cancel(tombstone=True), say.prepare(), say.confirm())

        assert [each.refusal for each in outcomes] == [None, "rolled_back", "rolled_back"]

    async def test_the_same_new_id_with_other_content_in_one_write_is_a_conflict(self, play: Play) -> None:
        say = play.say()

        outcomes = await play.do(say.prepare(), make_prepare(play.world, content=make_content(b"other")))

        assert [each.refusal for each in outcomes] == [None, "id_conflict"]
        assert await play.content() == make_content()

    async def test_one_refused_item_spoils_no_other(self, play: Play) -> None:
        await play.come("cancelled", 2)

        outcomes = await play.do(
            play.say(1).prepare(),
            play.say(2).confirm(),
            play.say(3).complete(),
            make_prepare(play.world, 1, content=make_content(b"other")),
            play.say(4).prepare(confirmed=True),
        )

        assert [each.refusal for each in outcomes] == [None, "rolled_back", "unknown_message", "id_conflict", None]
        assert ((await play.state(1)).status, (await play.state(4)).status) == ("pending_confirmation", "pending_send")

    async def test_an_error_in_one_item_leaves_nothing_changed(self, play: Play) -> None:
        # given
        before = await play.come("confirmed", 1)
        await play.come("prepared", 2)
        events = await play.events(2)
        broken = Broken(id=message_id(1), app=play.world.orders, actor="nobody")
        accepted, checked = play.say(1).accepted(), play.say(2).checked("unknown")

        # when a transition cannot even be computed
        with pytest.raises(Exception):  # noqa: B017  each store may say it in its own way
            await play.write(accepted, checked, play.say(3).prepare(), broken)

        # then
        assert await play.state(1) == before
        assert await play.events(2) == events
        assert await play.store.find([message_id(3)]) == {}
        assert [each.at for each in await play.store.due_lanes(DueKind.PULL)] == []
        assert (await play.one(play.say(1).accepted())).changed

    async def test_results_come_in_the_order_of_the_work(self, play: Play) -> None:
        prepares = [play.say(number).prepare() for number in (5, 3, 9, 1)]

        outcomes = await play.do(*prepares)

        assert [each.id for each in outcomes] == [each.id for each in prepares]

    async def test_no_work_gives_no_results(self, play: Play) -> None:
        assert await play.write() == []

    async def test_many_writes_at_the_same_time_all_take_place(self, play: Play) -> None:
        await asyncio.gather(
            *(play.do(play.say(number).prepare(), play.say(number).confirm()) for number in range(1, 41))
        )
        outcomes = await asyncio.gather(*(play.one(play.say(1).complete()) for _ in range(10)))

        found = await play.store.find([message_id(number) for number in range(1, 41)])
        assert len(found) == 40
        assert sum(each.changed for each in outcomes) == 1
        assert {each.status for each in outcomes} == {Status.COMPLETED}

    async def test_a_thousand_items_fit_one_write(self, play: Play) -> None:
        outcomes = await play.do(*(play.say(number).prepare() for number in range(1, 1001)))
        assert all(each.created for each in outcomes)

        outcomes = await play.do(*(play.say(number).confirm() for number in range(1, 1001)))
        assert {each.status for each in outcomes} == {Status.PENDING_SEND}

    async def test_a_check_is_told_in_the_history(self, play: Play) -> None:
        say = play.say()
        await play.do(say.prepare())
        await play.do(say.checked("unknown", made=False))
        await play.do(say.checked("unknown", made=False))
        await play.do(say.checked("unknown"))
        play.later(5)
        await play.do(say.checked("committed"))

        told = [(each.event, each.attempt, each.detail, each.at) for each in await play.events()]
        assert told == [
            ("check_not_possible", None, "no address", play.now - 5),
            ("checked", 1, "no answer", play.now - 5),
            ("checked", 2, "committed", play.now),
        ]
        message = await play.state()
        assert (message.checks, message.checked_at, message.error) == (2, play.now, None)


class Broken(c.Confirm, frozen=True, kw_only=True):
    """A command that the domain does not know."""
