"""A few connections for many tasks: bounded waiting, and nothing in doubt is lent twice."""

import asyncio
from collections.abc import Sequence

import pytest

from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.stores.sql.pool import Pool
from aftercommit.stores.sql.session import Collision, ConnectionLost, Duplicate, Row
from aftercommit.stores.sql.statements import Put


class Script:
    """A session that notes what it is told, and breaks where the test wants."""

    def __init__(self, breaks: dict[str, Exception]) -> None:
        self.said: list[str] = []
        self.open = False
        self.closed = False
        self._breaks = breaks

    @property
    def usable(self) -> bool:
        return not self.open and not self.closed

    async def begin(self) -> None:
        self.open = True
        self._say("begin")

    async def commit(self) -> None:
        self._say("commit")
        self.open = False

    async def rollback(self) -> None:
        self._say("rollback")
        self.open = False

    async def rows(self, statement: str, *_values: object) -> Sequence[Row]:
        self._say(statement)
        return ()

    async def run(self, statement: str, *_values: object) -> int:
        self._say(statement)
        return 0

    async def put(self, *puts: tuple[Put, Sequence[Sequence[object]]]) -> list[int]:
        self._say("put")
        return [0 for _put, _rows in puts]

    def terminate(self) -> None:
        self.closed = True

    def _say(self, word: str) -> None:
        self.said.append(word)
        if word in self._breaks:
            raise self._breaks.pop(word)


class Driver:
    """Makes sessions; `breaks` is what the next word of that kind ends in."""

    def __init__(self) -> None:
        self.made: list[Script] = []
        self.breaks: dict[str, Exception] = {}

    async def __call__(self) -> Script:
        if "connect" in self.breaks:
            raise self.breaks.pop("connect")
        self.made.append(Script(self.breaks))
        return self.made[-1]


@pytest.fixture
def driver() -> Driver:
    """No connection yet."""
    return Driver()


@pytest.fixture
def pool(driver: Driver) -> Pool:
    """One place, and hardly any patience."""
    return Pool(driver, 1, wait_seconds=0.01)


async def use(pool: Pool) -> None:
    """A transaction with one statement."""
    async with pool.transaction() as session:
        await session.run("work")


async def test_where_all_are_taken_the_wait_is_bounded(pool: Pool) -> None:
    async with pool.lease():
        with pytest.raises(StoreUnavailable, match="No connection to the database was free"):
            await use(pool)
    await use(pool)


async def test_whoever_gave_up_waiting_takes_no_place(pool: Pool) -> None:
    async with pool.lease():
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await use(pool)
        waiting = asyncio.create_task(use(pool))
        await asyncio.wait({waiting}, timeout=0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
    await use(pool)


async def test_a_connection_is_used_again(pool: Pool, driver: Driver) -> None:
    await use(pool)
    await use(pool)

    [session] = driver.made
    assert session.said == ["begin", "work", "commit"] * 2


async def test_where_nobody_connects_no_place_is_lost(pool: Pool, driver: Driver) -> None:
    driver.breaks["connect"] = ConnectionLost("refused")
    with pytest.raises(ConnectionLost):
        await use(pool)
    await use(pool)


@pytest.mark.parametrize("kind", [Collision, Duplicate])
@pytest.mark.parametrize("word", ["work", "commit"])
async def test_after_an_error_that_says_it_was_undone_the_connection_is_kept(
    pool: Pool, driver: Driver, word: str, kind: type[StoreUnavailable]
) -> None:
    driver.breaks[word] = kind("undone")
    with pytest.raises(kind):
        await use(pool)
    await use(pool)

    [session] = driver.made
    assert "rollback" in session.said
    assert not session.closed


@pytest.mark.parametrize(
    "error", [ConnectionLost("gone"), StoreUnavailable("full"), Inconsistency("odd"), OSError("io")]
)
@pytest.mark.parametrize("word", ["begin", "work", "commit"])
async def test_after_any_other_error_the_connection_is_closed(
    pool: Pool, driver: Driver, word: str, error: Exception
) -> None:
    driver.breaks[word] = error
    with pytest.raises(type(error)):
        await use(pool)
    await use(pool)

    first, second = driver.made
    assert (first.closed, second.closed) == (True, False)
    assert first.said[-1] == word


async def test_a_rollback_that_fails_closes_the_connection(pool: Pool, driver: Driver) -> None:
    driver.breaks |= {"work": Collision("undone"), "rollback": ConnectionLost("gone")}
    with pytest.raises(ConnectionLost):
        await use(pool)
    await use(pool)

    first, second = driver.made
    assert (first.closed, second.closed) == (True, False)


async def test_a_cancelled_task_never_gives_its_connection_back(pool: Pool, driver: Driver) -> None:
    async def hold() -> None:
        async with pool.transaction():
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await asyncio.wait({holding}, timeout=0)
    holding.cancel()
    await asyncio.wait({holding})
    await use(pool)

    first, second = driver.made
    assert holding.cancelled()
    assert (first.closed, second.closed) == (True, False)
    assert first.said == ["begin"]


async def test_closing_cuts_off_who_is_inside_and_refuses_who_comes(pool: Pool, driver: Driver) -> None:
    async with pool.lease():
        pool.close()
        pool.close()
        assert driver.made[0].closed
    with pytest.raises(StoreUnavailable, match="closed"):
        await use(pool)
