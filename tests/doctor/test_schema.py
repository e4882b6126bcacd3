"""What the doctor says of a database's tables, on every server."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aftercommit.clocks import wall_ms
from aftercommit.doctor.finding import Finding, Level
from aftercommit.doctor.servers import examine_server
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.migrate import run_migrations
from tests.doctor.reading import found


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.getfixturevalue(request.param).database() as made:
        yield made.url()


async def run(url: str, statement: str) -> None:
    engine = create_async_engine(Address.parse(url).sqlalchemy_url)
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


async def schema(url: str) -> Finding:
    return found(await examine_server(url, workers=1, read_ms=wall_ms), "schema")


async def test_no_tables_are_a_warning_and_none_are_made(url):
    assert (await schema(url)).level is Level.WARNING
    assert "no tables" in (await schema(url)).found


async def test_this_versions_tables_are_well(url):
    await run_migrations(url)

    assert (await schema(url)).level is Level.OK


async def test_an_older_versions_tables_are_an_error(url):
    await run_migrations(url)
    await run(url, "DELETE FROM aftercommit_schema")

    finding = await schema(url)

    assert finding.level is Level.ERROR
    assert "aftercommit migrate" in finding.found


async def test_a_newer_versions_tables_are_an_error(url):
    await run_migrations(url)
    await run(url, "UPDATE aftercommit_schema SET version_num = '9999'")

    assert "9999" in (await schema(url)).found


async def test_a_table_that_is_gone_is_an_error(url):
    await run_migrations(url)
    await run(url, "DROP TABLE tally")

    finding = await schema(url)

    assert finding.level is Level.ERROR
    assert "tally" in finding.found


async def test_somebody_elses_tables_are_an_error(url):
    await run(url, "CREATE TABLE message (id INT)")

    assert "somebody else" in (await schema(url)).found
