"""The store suite, part four: claims. What is due is taken in order, once, and counted when it is taken."""

import asyncio

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.message import Claimed, Due, DueKind
from aftercommit.domain.policies import CHECK_HOLD_MS
from tests.builders import BILLING, HOUR, MINUTE, SECOND, message_id
from tests.conformance.store_case import Play, StoreCase, numbers, statuses
from tests.ways import UNREACHABLE_LIMIT

UNDECIDED_CHECK = HOUR


def checks(play: Play, limit: int = 100, *, handed_out: bool = False) -> c.ClaimChecks:
    return c.ClaimChecks(app=play.world.orders, limit=limit, handed_out=handed_out)


def sends(play: Play, limit: int = 100) -> c.ClaimSends:
    return c.ClaimSends(topic=play.world.topic, limit=limit)


def pulls(play: Play, subscription: str = "default", limit: int = 100) -> c.ClaimPulls:
    return c.ClaimPulls(subscription=play.world.subscriptions[subscription], limit=limit)


def expired(play: Play, subscription: str = "default", limit: int = 100) -> c.ClaimExpired:
    return c.ClaimExpired(subscription=play.world.subscriptions[subscription], limit=limit)


async def pullable(play: Play, *wanted: int) -> None:
    for number in wanted:
        await play.do(play.say(number).prepare(confirmed=True))
        await play.claim(sends(play))
        play.later(1)


class ClaimSuite(StoreCase):
    """Every kind of claim."""

    async def test_a_claim_of_nothing_takes_nothing(self, play: Play) -> None:
        for claim in (checks(play), sends(play), pulls(play), expired(play)):
            assert await play.claim(claim) == Claimed()

    async def test_what_is_due_longest_is_taken_first(self, play: Play) -> None:
        for number, delay in ((1, 30), (2, 10), (3, 20), (4, 10)):
            await play.do(play.say(number).prepare(confirmed=True, delay=delay * SECOND))
        play.later(MINUTE)

        claimed = await play.claim(sends(play))

        assert numbers(claimed) == [2, 4, 3, 1]
        assert (claimed.seen, claimed.parked, claimed.next_at) == (4, 0, None)

    async def test_a_claim_takes_no_more_than_its_limit(self, play: Play) -> None:
        start = play.now
        for number in (1, 2, 3):
            await play.do(play.say(number).prepare(confirmed=True, delay=number * SECOND))
        play.later(MINUTE)

        first = await play.claim(sends(play, limit=2))
        second = await play.claim(sends(play, limit=2))

        assert (numbers(first), first.seen, first.next_at) == ([1, 2], 2, start + 3 * SECOND)
        assert (numbers(second), second.seen, second.next_at) == ([3], 1, None)

    async def test_nothing_is_taken_before_its_time(self, play: Play) -> None:
        await play.do(play.say().prepare(confirmed=True, delay=HOUR))

        play.later(HOUR - 1)
        early = await play.claim(sends(play))
        assert (early.taken, early.seen, early.next_at) == ((), 0, play.now + 1)
        assert (await play.state()).status == "pending_send"

        play.later(1)
        assert numbers(await play.claim(sends(play))) == [1]

    async def test_a_claim_shows_the_message_as_it_stands_afterwards(self, play: Play) -> None:
        await play.do(play.say().prepare(confirmed=True))

        [taken] = (await play.claim(sends(play))).taken

        assert taken.message == await play.state()
        assert (taken.message.status, taken.message.version) == ("sent", 2)

    async def test_what_is_pulled_or_checked_comes_with_its_content(self, play: Play) -> None:
        await pullable(play, 1)
        await play.do(play.say(2).prepare())
        play.later(HOUR)

        [pulled] = (await play.claim(pulls(play))).taken
        [checked] = (await play.claim(checks(play))).taken

        assert (pulled.content, checked.content) == (await play.content(1), await play.content(2))

    async def test_lanes_do_not_mix(self, two: Play) -> None:
        await two.do(two.say(1).prepare(confirmed=True), two.say(1).accepted(), two.say(2).prepare())
        two.later(HOUR)

        assert numbers(await two.claim(c.ClaimChecks(app=two.world.billing, limit=9))) == []
        assert numbers(await two.claim(c.ClaimSends(topic=two.world.topic + 100, limit=9))) == []
        assert numbers(await two.claim(pulls(two, "default"))) == []
        assert numbers(await two.claim(pulls(two, "billing"))) == [1]
        assert numbers(await two.claim(pulls(two, "shipping"))) == [1]

    async def test_claims_and_commands_of_one_write_apply_in_order(self, play: Play) -> None:
        say = play.say()

        results = await play.write(say.prepare(confirmed=True), sends(play), pulls(play), say.complete(), pulls(play))

        claims = [numbers(each) for each in results if isinstance(each, Claimed)]
        assert claims == [[1], [1], []]
        assert (await play.state()).status == "completed"
        assert (await play.state()).version == 1

    @pytest.mark.parametrize("kind", ["checks", "sends", "pulls"])
    async def test_claims_at_the_same_time_never_take_the_same_twice(self, play: Play, kind: str) -> None:
        for number in range(1, 31):
            await play.do(play.say(number).prepare(confirmed=kind != "checks"))
        if kind == "pulls":
            await play.claim(sends(play))
        play.later(HOUR)
        claim: c.Claim = checks(play, limit=7) if kind == "checks" else sends(play, limit=7)
        if kind == "pulls":
            claim = pulls(play, limit=7)

        claims = await asyncio.gather(*(play.claim(claim) for _ in range(8)))

        taken = [number for each in claims for number in numbers(each)]
        assert sorted(taken) == list(range(1, 31))


class CheckClaimSuite(StoreCase):
    """Claims of checks."""

    async def test_a_held_check_is_nobody_elses_until_the_hold_runs_out(self, play: Play) -> None:
        await play.do(play.say().prepare())
        play.later(MINUTE)

        first = await play.claim(checks(play))
        play.later(CHECK_HOLD_MS - 1)
        second = await play.claim(checks(play))
        play.later(1)
        third = await play.claim(checks(play))

        assert (numbers(first), numbers(second), numbers(third)) == ([1], [], [1])
        assert second.next_at == play.now
        assert (await play.state()).checks == 0

    async def test_a_held_check_counts_when_it_is_answered(self, play: Play) -> None:
        await play.do(play.say().prepare())
        play.later(MINUTE)
        await play.claim(checks(play))

        await play.do(play.say().checked("unknown"))

        message = await play.state()
        assert (message.checks, message.checked_at) == (1, play.now)
        assert message.due == Due(DueKind.CHECK, play.world.orders, play.now + 30 * SECOND)

    async def test_a_handed_out_check_counts_at_once_and_only_once(self, play: Play) -> None:
        await play.do(play.say().prepare())
        play.later(MINUTE)

        [taken] = (await play.claim(checks(play, handed_out=True))).taken
        await play.do(play.say().checked("unknown", counted=True))

        assert (taken.message.checks, (await play.state()).checks) == (1, 1)
        assert [each.event for each in await play.events()] == ["check_handed_out", "checked"]

    async def test_handed_out_checks_that_nobody_answers_end_undecided(self, play: Play) -> None:
        await play.do(play.say().prepare())
        seen = []
        for _ in range(4):
            play.later(HOUR)
            claimed = await play.claim(checks(play, handed_out=True))
            seen.append((numbers(claimed), claimed.parked, (await play.state()).status.value))

        assert seen == [
            ([1], 0, "pending_confirmation"),
            ([1], 0, "pending_confirmation"),
            ([1], 0, "pending_confirmation"),
            ([], 1, "undecided"),
        ]

    async def test_an_undecided_message_is_asked_about_every_hour(self, play: Play) -> None:
        await play.come("checks used up")

        assert numbers(await play.claim(checks(play))) == []
        play.later(UNDECIDED_CHECK)
        assert numbers(await play.claim(checks(play))) == [1]
        await play.do(play.say().checked("unknown"))

        message = await play.state()
        assert (message.status, message.checks) == ("undecided", 4)
        assert message.due == Due(DueKind.CHECK, play.world.orders, play.now + UNDECIDED_CHECK)

    async def test_checks_that_could_not_be_made_use_no_budget(self, play: Play) -> None:
        await play.do(play.say().prepare())
        for _ in range(10):
            play.later(10 * SECOND)
            await play.do(play.say().checked("unknown", made=False))

        message = await play.state()
        assert (message.status, message.checks) == ("pending_confirmation", 0)
        assert len(await play.events()) == 1

    async def test_checks_that_cannot_be_made_for_too_long_end_undecided(self, play: Play) -> None:
        await play.do(play.say().prepare())
        # Time in which no check was due does not count: the first that could not be made begins it.
        play.later(10 * UNREACHABLE_LIMIT)
        await play.do(play.say().checked("unknown", made=False))

        play.later(UNREACHABLE_LIMIT - 1)
        early = await play.one(play.say().checked("unknown", made=False))
        play.later(1)
        late = await play.one(play.say().checked("unknown", made=False))

        assert (early.status, late.status) == ("pending_confirmation", "undecided")

    async def test_the_time_without_checks_counts_from_the_last_one_made(self, play: Play) -> None:
        await play.do(play.say().prepare())
        play.later(UNREACHABLE_LIMIT - 1)
        await play.do(play.say().checked("unknown"))

        play.later(UNREACHABLE_LIMIT - 1)
        early = await play.one(play.say().checked("unknown", made=False))
        play.later(1)
        late = await play.one(play.say().checked("unknown", made=False))

        assert (early.status, late.status) == ("pending_confirmation", "undecided")

    async def test_where_nobody_can_be_asked_only_what_waited_too_long_is_touched(self, play: Play) -> None:
        await play.do(play.say(1).prepare())
        play.later(MINUTE)
        await play.do(play.say(2).prepare())
        claim = c.ClaimUnasked(app=play.world.orders, limit=100)

        play.later(UNREACHABLE_LIMIT)
        claimed = await play.claim(claim)

        assert (claimed.taken, claimed.parked) == ((), 1)
        assert ((await play.state(1)).status, (await play.state(2)).status) == ("undecided", "pending_confirmation")
        assert (await play.state(2)).version == 1


class PullClaimSuite(StoreCase):
    """Claims of deliveries from the built-in broker."""

    async def test_a_pulled_message_is_hidden_until_its_redelivery_time(self, play: Play) -> None:
        await pullable(play, 1)

        first = await play.claim(pulls(play))
        pulled_at = play.now
        play.later(MINUTE - 1)
        hidden = await play.claim(pulls(play))
        play.later(1)
        again = await play.claim(pulls(play))

        assert (numbers(first), numbers(hidden), numbers(again)) == ([1], [], [1])
        assert hidden.next_at == pulled_at + MINUTE
        assert [each.taken[0].message.deliveries[0].attempts for each in (first, again)] == [1, 2]

    async def test_a_message_nobody_pulls_uses_no_budget(self, play: Play) -> None:
        await pullable(play, 1)

        play.later(1000 * HOUR)

        assert numbers(await play.claim(expired(play))) == []
        assert numbers(await play.claim(pulls(play))) == [1]
        assert (await play.state()).deliveries[0].attempts == 1

    async def test_the_last_attempts_interval_still_passes(self, play: Play) -> None:
        await pullable(play, 1)
        await play.claim(pulls(play))
        play.later(MINUTE)
        await play.claim(pulls(play))

        play.later(5 * MINUTE - 1)
        assert await play.claim(expired(play)) == Claimed(next_at=play.now + 1)
        assert numbers(await play.claim(pulls(play))) == []
        play.later(1)
        claimed = await play.claim(expired(play))

        assert (claimed.taken, claimed.seen, claimed.parked, claimed.next_at) == ((), 1, 1, None)
        message = await play.state()
        assert (message.status, message.error) == ("undelivered", "Not reported after 2 deliveries.")
        assert message.deliveries[0].attempts == 2

    async def test_a_budget_raised_meanwhile_is_pullable_again(self, play: Play) -> None:
        await pullable(play, 1)
        await play.claim(pulls(play))
        play.later(HOUR)
        await play.claim(pulls(play))
        await play.change_world(deliveries_max=3)
        play.later(HOUR)

        claimed = await play.claim(expired(play))

        assert (numbers(claimed), claimed.parked) == ([1], 0)
        assert numbers(await play.claim(pulls(play))) == [1]

    async def test_a_budget_lowered_meanwhile_is_given_up_instead_of_pulled(self, play: Play) -> None:
        await pullable(play, 1, 2)
        await play.claim(pulls(play, limit=1))
        await play.change_world(deliveries_max=1)
        play.later(HOUR)

        claimed = await play.claim(pulls(play))

        assert (numbers(claimed), claimed.seen, claimed.parked) == ([2], 2, 1)
        assert (await play.state(1)).status == "undelivered"

    async def test_each_subscription_pulls_for_itself(self, two: Play) -> None:
        await two.do(two.say().prepare(confirmed=True), two.say().accepted())

        await two.claim(pulls(two, "billing"))
        await two.do(two.say().complete("billing"))

        assert [each.attempts for each in (await two.state()).deliveries] == [1, 0]
        assert numbers(await two.claim(pulls(two, "shipping"))) == [1]
        assert statuses(await two.state()) == ["completed", "sent"]

    async def test_a_reported_message_is_not_pulled_again(self, play: Play) -> None:
        await pullable(play, 1)
        await play.claim(pulls(play))
        await play.do(play.say().complete())

        play.later(1000 * HOUR)

        assert await play.claim(pulls(play)) == Claimed()
        assert await play.claim(expired(play)) == Claimed()

    async def test_an_operator_makes_a_hidden_message_pullable_now(self, play: Play) -> None:
        await pullable(play, 1)
        await play.claim(pulls(play))
        await play.do(play.say().redeliver())

        assert numbers(await play.claim(pulls(play))) == [1]

    async def test_a_redelivered_dead_letter_is_sent_and_pulled_again(self, two: Play) -> None:
        await two.change_world({"default": BILLING})
        await two.come("redelivered by an operator")

        assert numbers(await two.claim(sends(two))) == [1]
        [taken] = (await two.claim(pulls(two))).taken

        assert (taken.message.id, taken.message.deliveries[0].attempts) == (message_id(1), 1)
