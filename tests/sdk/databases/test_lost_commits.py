"""COMMITs whose answer never comes: nobody may say what became of them, whichever way they went."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.databases.failures import Failure, commit_is_uncertain, failure_of
from tests.sdk.databases.drivers import NAMES, Driver
from tests.sdk.databases.drivers import driver as made
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy

SERVERS = [name for name, server in NAMES.items() if server != "sqlite"]
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL CONNECTION {}"}
ID = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}


@dataclass
class Line:
    """The way to the server; `fault` befalls the next COMMIT."""

    fault: Fault = FORWARD

    def decide(self, piece: bytes) -> Fault:
        return self.fault if b"COMMIT" in piece else FORWARD


@pytest.fixture
def line() -> Line:
    """A faultless one, so far."""
    return Line()


@pytest.fixture
def proxy(place: Any, line: Line) -> Iterator[FaultProxy]:
    """In front of the server."""
    with FaultProxy(place.port, line.decide) as proxy:
        yield proxy


@pytest.fixture
async def afar(driver_name: str, place: Any, proxy: FaultProxy) -> AsyncIterator[Driver]:
    """The driver, behind the proxy."""
    driver = await made(driver_name, replace(place, port=proxy.port))
    yield driver
    await driver.close()


async def orders(driver: Driver) -> int:
    async with database_of(driver.source).open() as handle:
        ((found,),) = await handle.execute("SELECT count(*) FROM orders")
        await handle.rollback()
    return int(found)


async def settled(driver: Driver, expected: int) -> int:
    """The same, when the server has got round to what it was told last; its client heard of the cut before."""
    for _ in range(500):
        if await orders(driver) == expected:
            break
    return await orders(driver)


@pytest.mark.parametrize(("fate", "committed"), [(Fate.LOSE_ANSWER, 1), (Fate.CUT, 0)])
@pytest.mark.parametrize("driver_name", SERVERS)
async def test_a_commit_without_an_answer_is_uncertain(driver, afar, line, fate, committed):
    async with afar.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await afar.run(target, "INSERT INTO orders VALUES (1)")
        line.fault = Fault(fate)
        with pytest.raises(Exception, match=r".*") as raised:
            await handle.commit()
        line.fault = FORWARD
        assert commit_is_uncertain(raised.value)
        assert failure_of(raised.value) is Failure.OTHER
        await _rolled_back(handle)
        assert not handle.in_transaction()
    assert await settled(driver, committed) == committed


@pytest.mark.parametrize("driver_name", SERVERS)
async def test_a_commit_on_a_connection_that_the_server_killed_is_uncertain(driver):
    async with driver.connect() as target:
        handle = handle_of(target)
        await handle.begin()
        await driver.run(target, "INSERT INTO orders VALUES (1)")
        ((backend,),) = await handle.execute(ID[driver.server])
        async with driver.connect() as other:
            await driver.run(other, KILL[driver.server].format(backend))
        with pytest.raises(Exception, match=r".*") as raised:
            await handle.commit()
        assert commit_is_uncertain(raised.value)
        await _rolled_back(handle)
        assert not handle.in_transaction()
    assert await orders(driver) == 0


async def _rolled_back(handle: Any) -> None:
    """A connection that is lost may refuse to roll back; nothing is open on it."""
    try:
        await handle.rollback()
    except Exception as error:
        assert failure_of(error) is Failure.OTHER  # noqa: PT017 - either is right
