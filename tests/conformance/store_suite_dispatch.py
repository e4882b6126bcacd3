"""The store suite, part five: dispatch. Published and marked in one breath; what is not accepted is not lost."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from aftercommit.domain.message import Due, DueKind, Taken
from aftercommit.ports.broker import Accepted, Answer, Refused, Unavailable
from aftercommit.ports.store import Dispatch, Dispatched
from tests.builders import HOUR, MINUTE, SECOND, message_id
from tests.conformance.store_case import Play, StoreCase, statuses


class Script:
    """A broker that answers by the book and remembers what it was given."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = {int(name.removeprefix("m")): answer for name, answer in answers.items()}
        self.batches: list[list[Taken]] = []

    async def __call__(self, batch: Sequence[Taken]) -> list[Answer]:
        """Publish: accepted unless the script says something else of `m<number>`."""
        self.batches.append(list(batch))
        return [self.answers.get(number(each), Accepted()) for each in batch]

    @property
    def published(self) -> list[list[int]]:
        """The numbers of the messages in every batch."""
        return [[number(each) for each in batch] for batch in self.batches]


class Gate:
    """A broker that answers when the test lets it, and says when it was asked."""

    def __init__(self, then: Callable[[], Answer] = Accepted) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.published: list[int] = []
        self._then = then

    async def __call__(self, batch: Sequence[Taken]) -> list[Answer]:
        """Publish, as soon as the gate is open."""
        self.published += [number(each) for each in batch]
        self.asked.set()
        await self.open.wait()
        return [self._then() for _ in batch]


def number(taken: Taken) -> int:
    return int(taken.message.id[-12:], 16)


def sends(play: Play, limit: int = 100, ids: tuple[str, ...] | None = None) -> Dispatch:
    return Dispatch(kind=DueKind.SEND, lane=play.world.topic, limit=limit, ids=ids)


def redeliveries(play: Play, subscription: str = "default", limit: int = 100) -> Dispatch:
    return Dispatch(kind=DueKind.REDELIVER, lane=play.world.subscriptions[subscription], limit=limit)


async def confirmed(play: Play, *wanted: int) -> None:
    for each in wanted:
        await play.do(play.say(each).prepare(confirmed=True))
        play.later(1)


async def redeliverable(play: Play, *wanted: int) -> None:
    """Messages accepted by an outside broker, and due again."""
    await confirmed(play, *wanted)
    await play.store.dispatch(sends(play), Script(), play.now)
    play.later(MINUTE)


class DispatchSuite(StoreCase):
    """First deliveries to an outside broker."""

    # Where publishing happens inside a transaction that holds the row, nobody can settle it meanwhile.
    settles_while_publishing = True

    async def test_what_the_broker_accepted_is_sent_when_it_returns(self, play: Play) -> None:
        await confirmed(play, 1)

        done = await play.store.dispatch(sends(play), Script(), play.now)

        message = await play.state()
        assert done == Dispatched(accepted=1)
        assert (message.status, message.version, message.due) == ("sent", 2, None)
        [delivery] = message.deliveries
        assert (delivery.attempts, delivery.sent_at) == (1, play.now)
        assert delivery.due == Due(DueKind.REDELIVER, play.world.default, play.now + MINUTE)

    async def test_the_broker_gets_the_message_with_its_content(self, play: Play) -> None:
        await confirmed(play, 1)
        before, script = await play.state(), Script()

        await play.store.dispatch(sends(play), script, play.now)

        [[taken]] = script.batches
        assert (taken.message, taken.content) == (before, await play.content())

    async def test_due_work_goes_out_oldest_first_up_to_the_limit(self, play: Play) -> None:
        for each, delay in ((1, 3), (2, 1), (3, 2), (4, 60)):
            await play.do(play.say(each).prepare(confirmed=True, delay=delay * SECOND))
        play.later(10 * SECOND)
        script = Script()

        for _ in range(3):
            await play.store.dispatch(sends(play, limit=2), script, play.now)

        assert script.published == [[2, 3], [1]]

    async def test_only_the_named_ids_go_out_and_only_when_due(self, play: Play) -> None:
        await confirmed(play, 1, 2)
        await play.do(play.say(3).prepare(confirmed=True, delay=HOUR), play.say(4).prepare())
        script = Script()
        wanted = tuple(message_id(each) for each in (2, 3, 4, 99))

        await play.store.dispatch(sends(play, ids=wanted), script, play.now)

        assert script.published == [[2]]

    async def test_the_broker_is_not_asked_when_nothing_is_due(self, play: Play) -> None:
        script = Script()

        assert await play.store.dispatch(sends(play), script, play.now) == Dispatched()
        assert script.batches == []

    async def test_a_refused_message_is_offered_again_later(self, play: Play) -> None:
        await confirmed(play, 1, 2)

        done = await play.store.dispatch(sends(play), Script(m1=Refused("queue full")), play.now)

        message = await play.state(1)
        assert (done.accepted, done.refused, done.unavailable) == (1, 1, None)
        assert (message.status, message.error, message.deliveries[0].refusals) == ("pending_send", "queue full", 1)
        assert message.due == Due(DueKind.SEND, play.world.topic, play.now + SECOND)
        assert (await play.state(2)).status == "sent"

        early = Script()
        await play.store.dispatch(sends(play), early, play.now)
        assert early.published == []

    async def test_a_message_refused_too_often_is_undelivered(self, play: Play) -> None:
        await confirmed(play, 1)

        for _ in range(2):
            await play.store.dispatch(sends(play), Script(m1=Refused("queue full")), play.now)
            play.later(HOUR)

        message = await play.state()
        assert (message.status, message.error, message.due) == ("undelivered", "queue full", None)

    async def test_a_message_refused_for_good_is_undelivered_at_once(self, play: Play) -> None:
        await confirmed(play, 1)

        await play.store.dispatch(sends(play), Script(m1=Refused("too large", final=True)), play.now)

        assert (await play.state()).status == "undelivered"
        assert [each.event for each in await play.events()] == ["undelivered"]

    async def test_an_unavailable_destination_writes_nothing(self, play: Play) -> None:
        await confirmed(play, 1)
        before = await play.state()

        for _ in range(20):
            done = await play.store.dispatch(sends(play), Script(m1=Unavailable("broker down")), play.now)
            assert done == Dispatched(unavailable="broker down")
            play.later(HOUR)

        assert await play.state() == before
        assert (await play.store.dispatch(sends(play), Script(), play.now)).accepted == 1

    async def test_what_was_accepted_before_the_destination_went_away_is_kept(self, play: Play) -> None:
        await confirmed(play, 1, 2, 3)
        script = Script(m2=Unavailable("connection lost"), m3=Refused("too large", final=True))

        done = await play.store.dispatch(sends(play), script, play.now)

        assert (done.accepted, done.refused, done.unavailable) == (1, 1, "connection lost")
        found = [(await play.state(each)).status.value for each in (1, 2, 3)]
        assert found == ["sent", "pending_send", "undelivered"]

    async def test_an_error_while_publishing_writes_nothing_and_holds_nothing(self, play: Play) -> None:
        await confirmed(play, 1)
        before = await play.state()

        async def broken(batch: Sequence[Taken]) -> list[Answer]:
            raise OSError("the wire is cut")

        with pytest.raises(OSError, match="wire is cut"):
            await play.store.dispatch(sends(play), broken, play.now)

        assert await play.state() == before
        assert (await play.store.dispatch(sends(play), Script(), play.now)).accepted == 1

    async def test_a_cancelled_dispatch_writes_nothing_and_holds_nothing(self, play: Play) -> None:
        await confirmed(play, 1)
        before, gate = await play.state(), Gate()
        task = asyncio.create_task(play.store.dispatch(sends(play), gate, play.now))
        await gate.asked.wait()

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await play.state() == before
        assert (await play.store.dispatch(sends(play), Script(), play.now)).accepted == 1

    async def test_two_dispatches_never_publish_the_same_message_together(self, play: Play) -> None:
        await confirmed(play, 1, 2, 3)
        first, second = Gate(), Script()
        task = asyncio.create_task(play.store.dispatch(sends(play, limit=2), first, play.now))
        await first.asked.wait()

        await play.store.dispatch(sends(play), second, play.now)
        first.open.set()
        done = await task

        assert (first.published, second.published, done.accepted) == ([1, 2], [[3]], 2)

    async def test_while_it_publishes_everything_else_goes_on(self, play: Play) -> None:
        await confirmed(play, 1)
        gate = Gate()
        task = asyncio.create_task(play.store.dispatch(sends(play), gate, play.now))
        await gate.asked.wait()

        outcome = await play.one(play.say(2).prepare())
        found = await play.state(2)
        gate.open.set()
        await task

        assert (outcome.created, found.status) == (True, "pending_confirmation")

    @pytest.mark.parametrize("answer", [Accepted(), Refused("no"), Refused("no", final=True), Unavailable("down")])
    async def test_what_was_settled_meanwhile_stays_settled(self, play: Play, answer: Answer) -> None:
        if not self.settles_while_publishing:
            pytest.skip("this store holds the row while it publishes")
        await confirmed(play, 1)
        gate = Gate(lambda: answer)
        task = asyncio.create_task(play.store.dispatch(sends(play), gate, play.now))
        await gate.asked.wait()

        await play.do(play.say().complete())
        settled = await play.state()
        gate.open.set()
        await task

        assert await play.state() == settled

    async def test_a_delivery_reported_early_is_not_sent(self, two: Play) -> None:
        await confirmed(two, 1)
        await two.do(two.say().complete("billing"))

        await two.store.dispatch(sends(two), Script(), two.now)

        message = await two.state()
        assert statuses(message) == ["completed", "sent"]
        assert [each.attempts for each in message.deliveries] == [0, 1]

    async def test_several_subscriptions_are_one_message_to_the_broker(self, two: Play) -> None:
        await confirmed(two, 1)
        script = Script()

        done = await two.store.dispatch(sends(two), script, two.now)

        assert (script.published, done.accepted) == ([[1]], 1)
        assert statuses(await two.state()) == ["sent", "sent"]


class RedeliverySuite(StoreCase):
    """Later deliveries to an outside broker, one subscription at a time."""

    async def test_a_redelivery_counts_an_attempt_when_the_broker_accepted_it(self, play: Play) -> None:
        await redeliverable(play, 1)
        script = Script()

        done = await play.store.dispatch(redeliveries(play), script, play.now)

        [delivery] = (await play.state()).deliveries
        assert (done, script.published) == (Dispatched(accepted=1), [[1]])
        assert (delivery.attempts, delivery.due) == (
            2,
            Due(DueKind.REDELIVER, play.world.default, play.now + 5 * MINUTE),
        )
        assert [(each.event, each.attempt) for each in await play.events()] == [("redelivered", 2)]

    async def test_nothing_is_redelivered_before_its_time(self, play: Play) -> None:
        await confirmed(play, 1)
        await play.store.dispatch(sends(play), Script(), play.now)
        script = Script()

        play.later(MINUTE - 1)
        await play.store.dispatch(redeliveries(play), script, play.now)

        assert script.published == []

    async def test_a_used_up_budget_is_parked_without_being_published(self, play: Play) -> None:
        await redeliverable(play, 1)
        await play.store.dispatch(redeliveries(play), Script(), play.now)
        await redeliverable(play, 2)
        play.later(HOUR)
        script = Script()

        done = await play.store.dispatch(redeliveries(play), script, play.now)

        assert (done, script.published) == (Dispatched(accepted=1, parked=1), [[2]])
        message = await play.state(1)
        assert (message.status, message.error) == ("undelivered", "Not reported after 2 deliveries.")
        assert message.deliveries[0].attempts == 2

    async def test_where_all_is_parked_the_broker_is_not_asked(self, play: Play) -> None:
        await redeliverable(play, 1)
        await play.store.dispatch(redeliveries(play), Script(), play.now)
        play.later(HOUR)
        script = Script()

        done = await play.store.dispatch(redeliveries(play), script, play.now)

        assert (done, script.batches) == (Dispatched(parked=1), [])

    async def test_an_unavailable_destination_uses_no_budget(self, play: Play) -> None:
        await redeliverable(play, 1)
        before = await play.state()

        done = await play.store.dispatch(redeliveries(play), Script(m1=Unavailable("down")), play.now)

        assert done.unavailable == "down"
        assert await play.state() == before

    @pytest.mark.parametrize("final", [True, False])
    async def test_a_refused_redelivery_uses_budget_and_waits(self, play: Play, final: bool) -> None:
        await redeliverable(play, 1)

        done = await play.store.dispatch(redeliveries(play), Script(m1=Refused("no", final=final)), play.now)

        [delivery] = (await play.state()).deliveries
        assert (done.refused, delivery.attempts, delivery.error) == (1, 2, "no")
        assert delivery.due == Due(DueKind.REDELIVER, play.world.default, play.now + 5 * MINUTE)

    async def test_only_the_lanes_delivery_is_redelivered(self, two: Play) -> None:
        await redeliverable(two, 1)

        await two.store.dispatch(redeliveries(two, "billing"), Script(), two.now)

        assert [each.attempts for each in (await two.state()).deliveries] == [2, 1]

    async def test_a_reported_delivery_is_not_redelivered(self, two: Play) -> None:
        await redeliverable(two, 1)
        await two.do(two.say().complete("billing"))
        script = Script()

        await two.store.dispatch(redeliveries(two, "billing"), script, two.now)
        await two.store.dispatch(redeliveries(two, "shipping"), script, two.now)

        assert len(script.batches) == 1
        assert [each.attempts for each in (await two.state()).deliveries] == [1, 2]

    async def test_two_lanes_never_publish_the_same_message_together(self, two: Play) -> None:
        await redeliverable(two, 1)
        gate, script = Gate(), Script()
        task = asyncio.create_task(two.store.dispatch(redeliveries(two, "billing"), gate, two.now))
        await gate.asked.wait()

        await two.store.dispatch(redeliveries(two, "shipping"), script, two.now)
        gate.open.set()
        await task

        assert (gate.published, script.published) == ([1], [])

    async def test_one_redelivered_dead_letter_goes_out_alone(self, two: Play) -> None:
        # given
        await confirmed(two, 1)
        refused = Refused("too large", final=True)
        await two.store.dispatch(sends(two), Script(m1=refused), two.now)
        await two.do(two.say().redeliver("shipping"))

        # when
        script = Script()
        await two.store.dispatch(sends(two), script, two.now)

        # then
        assert script.published == [[1]]
        assert statuses(script.batches[0][0].message) == ["undelivered", "pending_send"]
        assert statuses(await two.state()) == ["undelivered", "sent"]
