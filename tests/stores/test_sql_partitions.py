"""PostgreSQL's partitions: made ahead, missing ones do no harm, and dropped whole only when nobody needs a row."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aftercommit.domain.message import DueKind
from aftercommit.domain.policies import ID_AGE_MAX_MS
from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.retention import DAY_MS
from aftercommit.stores.sql.schema import PARTITION_STORAGE, PARTITIONED
from aftercommit.stores.sql.session import Session
from aftercommit.stores.sql.statements import POSTGRES
from tests.builders import DAY, T0, message_id, set_up_world
from tests.conformance.store_case import Play
from tests.servers.postgres import Postgres
from tests.ways import SMALL_BUDGETS

TODAY = T0 // DAY_MS
# When the partition of T0's day may go: two days after the day began, its ids are too old to come back.
OVER = (TODAY + 2) * DAY_MS + ID_AGE_MAX_MS


def make_store(address: Address) -> SqlStore:
    return SqlStore(address, chance=lambda: 0.0, migrate=True)


@pytest.fixture
def address(postgres: Postgres) -> Iterator[Address]:
    """An empty database: here partitions are made and dropped."""
    with postgres.database() as fresh:
        yield Address.parse(fresh.url())


@pytest.fixture
async def play(address: Address) -> AsyncIterator[Play]:
    """A store opened at T0, with a topic that keeps for seven days what is settled."""
    store = make_store(address)
    await store.open(T0)
    yield Play(store, await set_up_world(store, policy=SMALL_BUDGETS))
    await store.close()


@pytest.fixture
async def session(address: Address, play: Play) -> AsyncIterator[Session]:
    """A connection of somebody else's."""
    session: Any = await backend_for(address).connector(10.0)()
    yield session
    session.terminate()


async def rows(session: Session, statement: str, *values: object) -> list[tuple[Any, ...]]:
    await session.begin()
    found = [tuple(each) for each in await session.rows(statement, *values)]
    await session.commit()
    return found


async def days(session: Session, table: str = "message") -> list[int]:
    found = await rows(
        session,
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        f" WHERE i.inhparent = '{table}'::regclass AND c.relname <> '{table}_rest' ORDER BY 1",
    )
    return [int(name.rpartition("_")[2]) for (name,) in found]


async def home(session: Session, table: str, number: int = 1) -> set[str]:
    """The partitions that hold rows of a message."""
    found = await rows(
        session,
        f"SELECT tableoid::regclass::text FROM {table} WHERE {PARTITIONED[table]} = $1::uuid",
        message_id(number),
    )
    return {name for (name,) in found}


async def fill(session: Session, number: int = 1) -> None:
    """Rows of a message in the tables that most messages need none of."""
    await session.begin()
    await session.run(
        "INSERT INTO delivery (message_id, position, subscription, status, attempts, refusals)"
        " VALUES ($1::uuid, 0, 1, 'completed', 1, 0)",
        message_id(number),
    )
    await session.run(
        "INSERT INTO event (message_id, at, event, status) VALUES ($1::uuid, 0, 'confirmed', 'pending_send')",
        message_id(number),
    )
    await session.commit()


async def counted(play: Play) -> int:
    return sum(each.count for each in await play.store.tallies())


class TestMaking:
    """Ahead of time, by whoever comes first."""

    async def test_the_days_around_now_have_partitions_of_every_table(self, play: Play, session: Session) -> None:
        for table in PARTITIONED:
            assert await days(session, table) == list(range(TODAY - 1, TODAY + 4))

    async def test_later_days_follow_as_time_goes_on(self, play: Play, session: Session) -> None:
        await play.store.purge(T0 + DAY, 10)

        assert (await days(session))[-1] == TODAY + 4

    async def test_two_nodes_make_them_at_once(self, address: Address) -> None:
        first, second = make_store(address), make_store(address)
        await first.open(T0)
        await second.open(T0)

        later = T0 + 30 * DAY
        await asyncio.gather(first.purge(later, 10), second.purge(later, 10))

        session: Any = await backend_for(address).connector(10.0)()
        assert (await days(session))[-5:] == [TODAY + 30 + each for each in range(-1, 4)]
        session.terminate()
        await first.close()
        await second.close()

    async def test_each_is_stored_as_its_table_is_used(self, play: Play, session: Session) -> None:
        for table, storage in PARTITION_STORAGE.items():
            [(options,)] = await rows(
                session, f"SELECT reloptions FROM pg_class WHERE oid = '{table}_{TODAY}'::regclass"
            )
            assert dict(each.split("=") for each in options) == storage

    async def test_rows_are_in_the_partition_of_their_ids_day(self, play: Play, session: Session) -> None:
        await play.come("completed")
        await fill(session)

        assert [await home(session, table) for table in PARTITIONED] == [{f"{each}_{TODAY}"} for each in PARTITIONED]

    async def test_a_table_in_use_is_not_waited_for(self, play: Play, session: Session) -> None:
        await session.begin()
        await session.run("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")

        assert await provide_is_quiet(play, T0 + 30 * DAY)

        await session.rollback()
        assert (await days(session))[-1] == TODAY + 3
        await play.store.purge(T0 + 30 * DAY + 1, 10)
        assert (await days(session))[-1] == TODAY + 33


async def provide_is_quiet(play: Play, now: int) -> bool:
    """Whether making partitions raises nothing. Only that part of a purge: the rest would wait for the table."""
    partitions: Any = play.store._partitions  # type: ignore[attr-defined]
    await partitions.provide(now)
    return partitions._provided_at != now


class TestTheRest:
    """Days without a partition of their own."""

    @pytest.fixture
    async def play(self, address: Address) -> AsyncIterator[Play]:
        """A store whose partitions are of another time than its messages' ids."""
        store = make_store(address)
        await store.open(T0 - 30 * DAY)
        yield Play(store, await set_up_world(store, policy=SMALL_BUDGETS))
        await store.close()

    async def test_their_rows_go_to_the_default_partition(self, play: Play, session: Session) -> None:
        await play.come("completed")
        await fill(session)

        assert [await home(session, table) for table in PARTITIONED] == [{f"{each}_rest"} for each in PARTITIONED]

    async def test_strays_keep_their_day_there_and_nobody_notices(self, play: Play, session: Session) -> None:
        await play.come("pulled", 1)

        await play.store.purge(T0, 10)

        assert TODAY not in await days(session)
        assert TODAY + 1 in await days(session)
        await play.come("pulled", 2)
        assert await home(session, "message", 2) == {"message_rest"}
        assert [(await play.one(play.say(each).complete())).refusal for each in (1, 2)] == [None, None]

    async def test_half_a_day_is_never_made(self, play: Play, session: Session) -> None:
        """One stray event is enough: no table's rows are elsewhere than the other tables'."""
        await play.come("completed")
        await fill(session)
        await session.begin()
        for table in ("message", "content", "delivery"):
            await session.run(f"DELETE FROM {table}")
        await session.commit()

        await play.store.purge(T0, 10)

        assert [TODAY in await days(session, table) for table in PARTITIONED] == [False] * 4


class TestDropping:
    """What nobody needs goes as a whole, one day after the other."""

    @pytest.fixture
    async def play(self, play: Play) -> Play:
        """Nothing is left of the day before."""
        assert await play.store.purge(OVER - 1, 10) == 0
        return play

    async def test_all_tables_of_a_day_go_together_with_their_counts(self, play: Play, session: Session) -> None:
        await play.come("completed", 1)
        await play.come("failed", 2)
        await fill(session, 1)
        await fill(session, 2)
        assert await counted(play) == 2

        assert await play.store.purge(OVER, 10) == 2

        for table in PARTITIONED:
            assert TODAY not in await days(session, table)
            assert await home(session, table) == set()
        assert await counted(play) == 0
        assert await play.all_messages() == []

    async def test_not_before_its_ids_are_too_old(self, play: Play, session: Session) -> None:
        await play.store.purge(OVER - 1, 10)
        assert TODAY in await days(session)

        await play.store.purge(OVER, 10)
        await play.store.purge(OVER, 10)
        assert TODAY not in await days(session)

    @pytest.mark.parametrize("way", ["prepared", "pulled", "checks used up", "pulls used up"])
    async def test_one_message_that_is_not_over_keeps_it(self, play: Play, session: Session, way: str) -> None:
        await play.come("completed", 1)
        await play.come(way, 2)

        await play.store.purge(OVER, 10)

        assert TODAY in await days(session)
        assert (await play.state(2)).settled_at is None
        assert await counted(play) == len(await play.all_messages())

    async def test_a_topic_that_keeps_its_messages_longer_keeps_it(self, play: Play, session: Session) -> None:
        await play.change_world(retention_seconds=30 * 86_400)
        message = await play.come("completed")

        assert await play.store.purge(OVER, 10) == 0
        assert await play.state() == message

        assert message.settled_at is not None
        assert await play.store.purge(message.settled_at + 30 * DAY, 10) == 1
        assert TODAY not in await days(session)

    async def test_who_reads_it_is_not_waited_for(self, play: Play, session: Session) -> None:
        await play.come("completed")
        await session.begin()
        await session.run(f"LOCK TABLE event_{TODAY} IN ACCESS SHARE MODE")

        await play.store.purge(OVER, 10)

        await session.rollback()
        assert await home(session, "message") == {f"message_{TODAY}"}
        assert await counted(play) == 1
        assert await play.store.purge(OVER, 10) == 1

    async def test_two_nodes_drop_it_once(self, address: Address, play: Play) -> None:
        await play.come("completed")
        other = make_store(address)
        await other.open(OVER)
        await play.store.purge(OVER - 1, 10)

        both = await asyncio.gather(play.store.purge(OVER, 10), other.purge(OVER, 10))

        assert sorted(both) == [0, 1]
        assert await counted(play) == 0
        await other.close()


class TestRowByRow:
    """Rows that no partition takes along, or has not for long."""

    async def test_what_a_day_keeps_is_left_to_its_drop(self, play: Play, session: Session) -> None:
        message = await play.come("completed")
        assert message.settled_at is not None

        # Before the partition may go, and while a message in it is alive.
        assert await play.store.purge(message.settled_at + 7 * DAY, 10) == 0

        assert await play.state() == message

    async def test_a_straggler_goes_two_days_after_it_was_over(self, play: Play, session: Session) -> None:
        await play.come("pulled", 2)
        message = await play.come("completed", 1)
        assert message.settled_at is not None
        last = message.settled_at + 9 * DAY

        assert [await play.store.purge(last - 1, 10) for _ in range(3)] == [0, 0, 0]
        assert await play.store.purge(last, 10) == 1

        assert [each.id for each in await play.all_messages()] == [message_id(2)]
        assert await counted(play) == 1

    async def test_what_is_kept_for_less_than_a_day_goes_at_once(self, play: Play, session: Session) -> None:
        await play.change_world(retention_seconds=60)
        message = await play.come("completed")
        assert message.settled_at is not None

        assert await play.store.purge(message.settled_at + 59_999, 10) == 0
        assert await play.store.purge(message.settled_at + 60_000, 10) == 1

        assert TODAY in await days(session)
        assert await counted(play) == 0


class TestPlans:
    """What the hot statements touch."""

    async def explained(self, session: Session, statement: str, *values: object) -> dict[str, int]:
        """How often each index or table in the plan was read."""
        [(plan,)] = await rows(session, f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values)
        read: dict[str, int] = {}
        nodes = [json.loads(plan)[0]["Plan"]]
        while nodes:
            node = nodes.pop()
            nodes += node.get("Plans", ())
            name = node.get("Index Name") or node.get("Relation Name")
            if name:
                assert node["Node Type"] != "Seq Scan", node
                read[name] = read.get(name, 0) + node["Actual Loops"]
        return read

    async def test_locking_touches_the_partition_of_the_id_only(self, play: Play, session: Session) -> None:
        await play.come("pulled")

        read = await self.explained(session, POSTGRES.lock_states, [message_id(1)])

        assert len(read) > 5
        assert {name for name, loops in read.items() if loops} == {f"message_{TODAY}_pkey"}

    async def test_what_is_due_is_found_by_its_index(self, play: Play, session: Session) -> None:
        await play.come("prepared")

        values = (int(DueKind.CHECK), play.world.orders, 0, message_id(0), 10)
        read = await self.explained(session, POSTGRES.due_messages, *values)

        assert f"message_{TODAY}_due_kind_due_lane_due_at_id_idx" in read
        assert all("_due_kind_due_lane_due_at_id_idx" in name for name in read)
