"""What it costs does not grow with what is stored: bounded walks, and no statement that reads a whole table."""

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import DueKind, Taken
from aftercommit.ports.broker import Accepted, Answer
from aftercommit.ports.store import Dispatch, Search
from aftercommit.stores.sqlite import SqliteStore, retention, search
from tests.builders import DAY, HOUR, T0, make_content, make_prepare, message_id, set_up_world
from tests.conformance.store_case import TWO, Play
from tests.stores.conftest import make_store


async def settled(play: Play, *wanted: int) -> None:
    for number in wanted:
        await play.do(play.say(number).prepare(), play.say(number).cancel())
        play.later(1)


async def numbers_found(play: Play, pages_max: int = 50, **conditions: object) -> tuple[list[int], int]:
    """What a search finds, and in how many pages."""
    ids: list[str] = []
    after = None
    for page_number in range(1, pages_max + 1):
        page = await play.store.search(Search(limit=3, after=after, **conditions))  # type: ignore[arg-type]
        ids += [each.message.id for each in page.messages]
        after = page.next_after
        if after is None:
            return [int(each[-12:], 16) for each in ids], page_number
    raise AssertionError("it never ends")


async def test_a_search_that_finds_nothing_looks_at_a_bounded_number_of_rows(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(play, *range(1, 11))
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 4)

    assert await numbers_found(play, key="nobody's") == ([], 3)


async def test_bounded_pages_lose_nothing(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 31):
        content = make_content(key="wanted" if number % 7 == 0 else "other")
        await play.do(make_prepare(play.world, number, now=play.now, content=content))
        play.later(number % 2)
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 4)

    assert (await numbers_found(play, key="wanted"))[0] == [28, 21, 14, 7]
    assert (await numbers_found(play))[0] == list(range(30, 0, -1))


async def test_what_is_in_trouble_is_found_among_many_others_at_once(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play.come("checks used up", 1)
    await play.come("pulls used up", 2)
    await play.come("failed", 3)
    await settled(play, *range(10, 60))
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 4)

    for number, status in ((1, Status.UNDECIDED), (2, Status.UNDELIVERED), (3, Status.FAILED)):
        assert await numbers_found(play, status=status) == ([number], 1)
        assert await numbers_found(play, status=status, topics=(play.world.topic,)) == ([number], 1)


async def test_a_purge_looks_at_a_bounded_number_of_rows_and_goes_on_where_it_stopped(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given messages nobody may remove before those that are over
    for number in range(1, 11):
        await play.do(play.say(number).prepare())
    play.later(1)
    await settled(play, *range(11, 16))
    monkeypatch.setattr(retention, "LOOKED_AT_MAX", 4)
    play.later(8 * DAY)

    # when
    purged = [await play.store.purge(play.now, 100) for _ in range(4)]

    # then
    assert (purged[0], sum(purged)) == (0, 5)
    assert len(await play.all_messages()) == 10


async def test_a_purge_begins_again_after_the_last(play: Play) -> None:
    await settled(play, 1, 2, 3)
    play.later(8 * DAY)
    assert await play.store.purge(play.now, 2) == 2
    await settled(play, 4)
    await play.do(make_prepare(play.world, 5, now=T0), play.say(5).cancel())
    play.later(8 * DAY)

    assert [await play.store.purge(play.now, 2) for _ in range(3)] == [2, 1, 0]


async def test_a_purge_removes_everything_that_belongs_to_a_message(store: SqliteStore, path: Path) -> None:
    play = Play(store, await set_up_world(store, TWO))
    say = play.say()
    await play.do(say.prepare(confirmed=True), say.accepted(), say.complete("billing"), say.discard())
    assert await play.events()

    await store.purge(play.now + 8 * DAY, 10)
    await store.close()

    with sqlite3.connect(path) as plain:
        tables = ("message", "content", "delivery", "event")
        assert [plain.execute(f"SELECT count(*) FROM {each}").fetchone() for each in tables] == [(0,)] * 4
        assert plain.execute("SELECT sum(count) FROM tally").fetchone() == (0,)
    plain.close()


# A walk through a table that grows, or through an index of it; SQLite also calls it a search without a condition.
WALK = re.compile(r"(SCAN|SEARCH) (message|delivery|content|event|m|d|c)\b(?!.*\()")


async def test_no_statement_reads_a_whole_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given every statement the store ever runs
    statements: dict[str, object] = {}

    class Recording(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            statements[statement] = values
            return super().execute(statement, *values)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: connect(*args, factory=Recording, **named))
    store = make_store(path)
    await store.open(T0)
    await live_a_little(Play(store, await set_up_world(store, TWO)))
    await store.close()
    monkeypatch.undo()

    # when
    with sqlite3.connect(path) as plain:
        plans = {
            statement: [row[3] for row in plain.execute(f"EXPLAIN QUERY PLAN {statement}", *values).fetchall()]  # type: ignore[misc]
            for statement, values in statements.items()
            if statement.lstrip().startswith(("SELECT", "WITH", "INSERT", "DELETE", "UPDATE"))
        }
    plain.close()

    # then
    assert len(plans) > 30
    walks = {(step, each) for each, plan in plans.items() for step in plan if WALK.match(step)}
    assert {(step, each) for step, each in walks if not is_bounded(step, each)} == set()


def is_bounded(step: str, statement: str) -> bool:
    """Whether a walk is along the list, and ends."""
    return "message_list" in step and "LIMIT" in statement


async def live_a_little(play: Play) -> None:
    """Something of everything."""
    subscription = play.world.subscriptions["billing"]
    for number in range(1, 4):
        say = play.say(number)
        await play.do(say.prepare())
        await play.do(say.confirm())
    await play.write(
        c.ClaimSends(topic=play.world.topic, limit=1),
        c.ClaimPulls(subscription=subscription, limit=5),
        c.ClaimChecks(app=play.world.orders, limit=5),
        c.ClaimExpired(subscription=subscription, limit=5),
    )
    await play.store.dispatch(Dispatch(kind=DueKind.SEND, lane=play.world.topic, limit=9), accept, play.now)
    await play.do(play.say(1).fail("billing"), play.say(1).fail("shipping"))
    await play.do(play.say(1).redeliver(replay=50))
    await play.do(play.say(1).prepare())
    await play.store.get(message_id(1))
    await play.state(1)
    for conditions in (
        {},
        {"status": Status.FAILED, "after": (play.now, message_id(9))},
        {"status": Status.SENT, "visible_to": play.world.billing, "key": "x", "error": "x", "text": "x"},
        {"app": 1, "topics": (1, 2), "since": 1, "until": 2},
    ):
        await play.store.search(Search(limit=2, **conditions))
    await play.store.tallies()
    for kind in DueKind:
        await play.store.due_lanes(kind)
    await play.change_world({"billing": "billing", "audit": "billing", "shipping": "shipping"})
    await play.store.ping()
    await play.store.purge(play.now + 30 * DAY + HOUR, 10)


async def accept(batch: Sequence[Taken]) -> list[Answer]:
    return [Accepted() for _ in batch]
