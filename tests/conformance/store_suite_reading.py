"""The store suite, part seven: searching, counting, purging, and a store's life."""

from collections.abc import Mapping

import pytest

from aftercommit.domain.errors import StoreUnavailable
from aftercommit.domain.lifecycle import TERMINAL, Status
from aftercommit.domain.message import DueKind
from aftercommit.ports.store import DueLane, Search, Store
from tests.builders import BILLING, DAY, HOUR, MINUTE, T0, make_content, make_prepare, make_world, message_id
from tests.conformance.store_case import TWO, Play, StoreCase, numbers
from tests.conformance.store_suite_claims import pulls, sends
from tests.ways import SMALL_BUDGETS, ways

WAYS = {name: status for name, (status, _steps) in ways(make_world()).items()}
NOT_SETTLED = [name for name, status in WAYS.items() if status not in TERMINAL]
SETTLED = [name for name, status in WAYS.items() if status in TERMINAL]
RETENTION = 7 * DAY


async def found(play: Play, *, limit: int = 100, **conditions: object) -> list[int]:
    """The numbers of all messages a search finds, over all its pages."""
    ids: list[str] = []
    after = None
    for _ in range(1000):
        page = await play.store.search(Search(limit=limit, after=after, **conditions))  # type: ignore[arg-type]
        assert len(page.messages) <= limit
        ids += [each.message.id for each in page.messages]
        after = page.next_after
        if after is None:
            break
    return [int(each[-12:], 16) for each in ids]


async def prepared(play: Play, *wanted: int, key: str | None = None, app: int | None = None) -> None:
    for each in wanted:
        await play.do(make_prepare(play.world, each, now=play.now, content=make_content(key=key), app=app))


class ReadingSuite(StoreCase):
    """Getting, finding, searching and counting."""

    async def test_a_message_that_does_not_exist_is_none(self, play: Play) -> None:
        assert await play.store.get(message_id(1)) is None
        assert await play.store.find([message_id(1)]) == {}
        assert await play.store.find([]) == {}

    async def test_the_ids_that_exist_are_found(self, play: Play) -> None:
        await prepared(play, 1, 2)

        states = await play.store.find([message_id(2), message_id(3), message_id(1), message_id(2)])

        assert states == {message_id(1): await play.state(1), message_id(2): await play.state(2)}

    async def test_a_thousand_ids_are_found_at_once(self, play: Play) -> None:
        await prepared(play, 5)

        states = await play.store.find([message_id(number) for number in range(1000)])

        assert list(states) == [message_id(5)]

    async def test_messages_are_listed_newest_first(self, play: Play) -> None:
        await prepared(play, 2, 1)
        play.later(1)
        await prepared(play, 4, 3)

        assert await found(play) == [4, 3, 2, 1]

    async def test_a_list_shows_the_state_and_the_key(self, play: Play) -> None:
        await prepared(play, 1, key="42")
        await play.do(play.say(2).cancel(tombstone=True))

        page = await play.store.search(Search(limit=9))

        listed = {each.message.id: (each.message, each.key) for each in page.messages}
        assert listed == {
            message_id(1): (await play.state(1), "42"),
            message_id(2): (await play.state(2), None),
        }

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    async def test_pages_have_no_gaps_and_no_repeats(self, play: Play, limit: int) -> None:
        for number in range(1, 20):
            await prepared(play, number)
            play.later(number % 3)

        assert await found(play, limit=limit) == list(range(19, 0, -1))

    async def test_pages_hold_while_messages_come_and_go(self, play: Play) -> None:
        # given ten messages, read two at a time
        for number in range(1, 11):
            await prepared(play, number)
            play.later(1)
        seen, after, number = [], None, 100
        while True:
            page = await play.store.search(Search(limit=2, after=after))
            seen += [int(each.message.id[-12:], 16) for each in page.messages]
            after = page.next_after
            if after is None:
                break
            # when newer ones arrive and listed ones move on between the pages
            number += 1
            await prepared(play, number)
            play.later(1)
            await play.do(play.say(seen[-1]).confirm())

        # then
        assert [each for each in seen if each < 100] == list(range(10, 0, -1))
        assert len(seen) == len(set(seen))

    async def test_every_condition_narrows(self, play: Play) -> None:
        await prepared(play, 1, key="a")
        play.later(10)
        await prepared(play, 2, key="b")
        play.later(10)
        await prepared(play, 3, app=play.world.billing)
        await play.do(play.say(2).confirm(), play.say(2).fail(reason="no stock left"))

        searches: list[tuple[Mapping[str, object], list[int]]] = [
            ({}, [3, 2, 1]),
            ({"status": Status.FAILED}, [2]),
            ({"status": Status.SENT}, []),
            ({"app": play.world.billing}, [3]),
            ({"key": "a"}, [1]),
            ({"key": "nothing"}, []),
            ({"since": T0 + 10}, [3, 2]),
            ({"until": T0 + 10}, [1]),
            ({"since": T0 + 10, "until": T0 + 20}, [2]),
            ({"error": "stock"}, [2]),
            ({"error": "%"}, []),
            ({"error": "_"}, []),
            ({"text": "stock"}, [2]),
            ({"text": "b"}, [2]),
            ({"text": message_id(3)[-4:]}, [3]),
            ({"text": message_id(3)}, [3]),
            ({"text": "%"}, []),
            ({"topics": (play.world.topic,)}, [3, 2, 1]),
            ({"topics": (play.world.topic + 100,)}, []),
            ({"topics": ()}, []),
            ({"key": "b", "status": Status.PENDING_CONFIRMATION}, []),
            ({"after": (T0 + 20, message_id(3))}, [2, 1]),
            ({"after": (T0 + 20, message_id(2))}, [2, 1]),
        ]
        for conditions, expected in searches:
            first = await play.store.search(Search(limit=100, **conditions))  # type: ignore[arg-type]
            assert (conditions, [int(each.message.id[-12:], 16) for each in first.messages]) == (conditions, expected)

    async def test_an_application_sees_its_own_messages_and_those_delivered_to_it(self, two: Play) -> None:
        await prepared(two, 1)
        await two.do(two.say(2).prepare(confirmed=True))
        await prepared(two, 3, app=two.world.billing)
        await two.do(two.say(4).cancel(tombstone=True))

        assert sorted(await found(two, visible_to=two.world.orders)) == [1, 2, 4]
        assert sorted(await found(two, visible_to=two.world.billing)) == [2, 3]
        assert sorted(await found(two, visible_to=two.world.shipping)) == [2]
        assert await found(two, visible_to=two.world.shipping + 100) == []
        assert await found(two, visible_to=two.world.billing, status=Status.PENDING_SEND, limit=1) == [2]

    async def test_an_implicit_subscription_shows_messages_to_the_topics_owner(self, play: Play) -> None:
        await play.do(make_prepare(play.world, 1, app=play.world.billing, confirmed=True))

        assert await found(play, visible_to=play.world.orders) == [1]

    @pytest.mark.parametrize("way", WAYS)
    async def test_counts_follow_every_status(self, play: Play, way: str) -> None:
        message = await play.come(way)

        [tally] = [each for each in await play.store.tallies() if each.count]

        assert (tally.app, tally.topic, tally.status, tally.count) == (
            message.app,
            message.topic,
            message.status,
            1,
        )
        assert tally.oldest_at == (None if message.status in TERMINAL else message.prepared_at)

    async def test_the_oldest_of_each_status_is_told(self, play: Play) -> None:
        await prepared(play, 1)
        play.later(MINUTE)
        await prepared(play, 2)
        play.later(MINUTE)
        await prepared(play, 3)
        await play.do(play.say(1).confirm())

        told = {each.status: (each.count, each.oldest_at) for each in await play.store.tallies() if each.count}

        assert told == {Status.PENDING_CONFIRMATION: (2, T0 + MINUTE), Status.PENDING_SEND: (1, T0)}

    async def test_lanes_tell_when_their_oldest_work_is_due(self, two: Play) -> None:
        billing, shipping = two.world.subscriptions["billing"], two.world.subscriptions["shipping"]
        await two.do(two.say(1).prepare(), two.say(2).prepare(confirmed=True, delay=HOUR))
        await two.do(two.say(3).prepare(confirmed=True), two.say(3).accepted(), two.say(3).pull("billing"))
        await two.do(two.say(4).prepare(confirmed=True), two.say(4).accepted(pullable=False))

        lanes = {
            kind: sorted((each.kind, each.lane, each.at) for each in await two.store.due_lanes(kind))
            for kind in DueKind
        }

        assert lanes == {
            DueKind.CHECK: [(DueKind.CHECK, two.world.orders, T0 + MINUTE)],
            DueKind.SEND: [(DueKind.SEND, two.world.topic, T0 + HOUR)],
            DueKind.PULL: [(DueKind.PULL, billing, T0 + MINUTE), (DueKind.PULL, shipping, T0)],
            DueKind.REDELIVER: [
                (DueKind.REDELIVER, billing, T0 + MINUTE),
                (DueKind.REDELIVER, shipping, T0 + MINUTE),
            ],
            DueKind.EXPIRE: [],
        }

    @pytest.mark.parametrize("way", [name for name in WAYS if WAYS[name] in TERMINAL])
    async def test_nothing_waits_on_a_settled_message(self, play: Play, way: str) -> None:
        await play.come(way)

        lanes: list[DueLane] = [lane for kind in DueKind for lane in await play.store.due_lanes(kind)]

        assert lanes == []


class RetentionSuite(StoreCase):
    """Purging."""

    @pytest.mark.parametrize("way", SETTLED)
    async def test_a_settled_message_goes_when_its_retention_has_passed(self, play: Play, way: str) -> None:
        message = await play.come(way)
        assert message.settled_at is not None

        assert await play.store.purge(message.settled_at + RETENTION - 1, 100) == 0
        assert await play.store.purge(message.settled_at + RETENTION, 100) == 1

        assert await play.store.get(message.id) is None
        assert await found(play) == []
        assert [each for each in await play.store.tallies() if each.count] == []

    @pytest.mark.parametrize("way", NOT_SETTLED)
    async def test_a_live_or_parked_message_never_goes(self, play: Play, way: str) -> None:
        message = await play.come(way)

        assert await play.store.purge(play.now + 1000 * DAY, 100) == 0

        assert await play.state() == message

    async def test_a_purge_takes_no_more_than_its_limit(self, play: Play) -> None:
        for number in range(1, 6):
            await play.come("completed", number)

        later = play.now + RETENTION
        assert [await play.store.purge(later, 2) for _ in range(4)] == [2, 2, 1, 0]

    async def test_retention_is_the_topics(self, play: Play) -> None:
        await play.change_world(retention_seconds=60)
        await play.come("completed", 1)
        await play.do(play.say(2).cancel(tombstone=True))

        assert await play.store.purge(play.now + MINUTE - 1, 100) == 0
        assert await play.store.purge(play.now + MINUTE, 100) == 1

        assert await found(play) == [2]

    async def test_a_purge_leaves_the_others_alone(self, play: Play) -> None:
        await play.come("completed", 1)
        live = await play.come("pulled", 2)
        play.now = T0 + RETENTION
        recent = await play.come("completed", 3)

        assert await play.store.purge(play.now, 100) == 1

        assert (await play.state(2), await play.state(3)) == (live, recent)
        assert (await play.one(play.say(1).complete())).refusal == "unknown_message"

    async def test_a_purged_id_may_be_prepared_again(self, play: Play) -> None:
        await play.come("resolved as rolled back")
        play.later(RETENTION)
        await play.store.purge(play.now, 100)

        outcome = await play.one(play.say().prepare())

        assert (outcome.created, await play.events()) == (True, ())

    async def test_a_copy_outlives_its_original(self, play: Play) -> None:
        await play.come("failed")
        await play.do(play.say().redeliver(replay=2))

        assert await play.store.purge(play.now + RETENTION, 100) == 1

        assert (await play.state(2)).replay_of == message_id(1)
        assert await play.content(2) is not None


class LifeSuite(StoreCase):
    """Opening and closing."""

    async def test_an_open_store_answers_a_ping(self, store: Store) -> None:
        await store.ping()

    async def test_a_closed_store_says_so_and_may_be_closed_again(self, play: Play) -> None:
        prepare = play.say().prepare()
        await play.store.close()
        await play.store.close()

        with pytest.raises(StoreUnavailable):
            await play.store.ping()
        with pytest.raises(StoreUnavailable):
            await play.store.write([prepare], play.now)
        with pytest.raises(StoreUnavailable):
            await play.store.get(prepare.id)

    async def test_it_can_be_closed_without_having_been_opened(self, place: object) -> None:
        store = self.make_store(place)

        await store.close()

    async def test_everything_is_there_when_it_is_opened_again(self, two: Play, place: object) -> None:
        if not self.durable:
            pytest.skip("this store forgets")
        # given a message in every status, and a catalogue that was edited
        await two.do(two.say(1).prepare(), two.say(2).prepare(confirmed=True, delay=HOUR))
        await two.do(two.say(3).prepare(confirmed=True), two.say(3).accepted(), two.say(3).pull("billing"))
        await two.do(two.say(4).prepare(confirmed=True), two.say(4).complete("billing"), two.say(4).fail("shipping"))
        await two.do(two.say(5).cancel(tombstone=True), two.say(6).prepare(confirmed=True), two.say(6).refused())
        await two.do(two.say(4).redeliver(replay=7))
        await two.change_world(TWO | {"audit": BILLING}, checks_max=5)
        wanted = [message_id(number) for number in range(1, 8)]
        before = [await two.store.get(each) for each in wanted]
        tallies = sorted((each.app, each.topic or 0, each.status, each.count) for each in await two.store.tallies())

        # when
        await two.store.close()
        again = self.make_store(place)
        await again.open(two.now)

        # then
        try:
            assert [await again.get(each) for each in wanted] == before
            catalog = two.store.catalog
            assert (dict(again.catalog.apps), dict(again.catalog.topics)) == (dict(catalog.apps), dict(catalog.topics))
            assert dict(again.catalog.subscriptions) == dict(catalog.subscriptions)
            assert again.catalog.next_id == catalog.next_id
            assert again.catalog.policy(two.world.topic).checks_max == 5
            counted = await again.tallies()
            assert sorted((each.app, each.topic or 0, each.status, each.count) for each in counted) == tallies
            reopened = Play(again, two.world)
            assert (await reopened.one(reopened.say(3).complete("billing"))).status == "sent"
            reopened.later(HOUR)
            assert numbers(await reopened.claim(sends(reopened))) == [7, 2]
            assert numbers(await reopened.claim(pulls(reopened, "shipping"))) == [3, 2, 7]
        finally:
            await again.close()

    async def test_a_name_given_before_is_known_after_it_is_opened_again(self, two: Play, place: object) -> None:
        if not self.durable:
            pytest.skip("this store forgets")
        await two.store.close()
        again = self.make_store(place)
        await again.open(two.now)
        try:
            reopened = Play(again, two.world)
            await reopened.change_world(TWO)
            assert reopened.world.subscriptions == two.world.subscriptions
            assert reopened.world.catalog.policy(two.world.topic).checks_max == SMALL_BUDGETS["checks_max"]
        finally:
            await again.close()
