"""What the doctor finds at PostgreSQL: real servers, each check seen to complain."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import asyncpg
import psycopg
import pytest

from aftercommit.clocks import wall_ms
from aftercommit.doctor import postgres as doctor
from aftercommit.doctor import postgres_tables
from aftercommit.doctor.finding import Level, Report
from aftercommit.doctor.limits import CONNECTIONS_PER_WORKER
from aftercommit.doctor.postgres import examine_postgres
from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.retention import DAY_MS
from aftercommit.stores.sql.schema import PARTITIONED
from tests.doctor.reading import found, levels
from tests.servers import require_server
from tests.servers.postgres import Postgres

HOUR_MS = 3600 * 1000


class Careless(Postgres):
    """A server that somebody has made fast."""

    def command(self) -> list[str]:
        """The same server, told not to be careful."""
        settings = ("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=12")
        more = (*settings, "max_prepared_transactions=2", "synchronous_commit=off")
        return [*super().command(), *(part for each in more for part in ("-c", each))]


class Standby(Postgres):
    """A server that follows nobody, but believes that it follows somebody."""

    def prepare(self) -> None:
        """A cluster that starts as a standby."""
        super().prepare()
        signal = self.folder / "data" / "standby.signal"
        signal.touch()
        self.account.own(signal)


@pytest.fixture(scope="module")
def careless() -> Iterator[Postgres]:
    server = Careless.found()
    require_server(Postgres.name, found=server is not None)
    assert server is not None
    with server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Address]:
    with postgres.database() as made:
        yield Address.parse(made.url())


@pytest.fixture
async def installed(database: Address) -> Address:
    """A database that a node has used."""
    store = SqlStore(database, chance=lambda: 0.0, migrate=True)
    await store.open(wall_ms())
    await store.close()
    return database


async def examine(address: Address, *, workers: int = 2, ahead_ms: int = 0) -> Report:
    return await examine_postgres(address, workers=workers, read_ms=lambda: wall_ms() - ahead_ms)


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, password="secret", database=address.database
    )
    try:
        yield connection
    finally:
        await connection.close()


async def run(address: Address, *statements: str) -> None:
    async with connected(address) as connection:
        for each in statements:
            await connection.execute(each)


async def test_a_database_that_a_node_uses_is_healthy(installed):
    report = await examine(installed)

    assert levels(report) == {}
    assert report.healthy


async def test_an_empty_database_only_lacks_its_tables(database):
    report = await examine(database)

    assert levels(report) == {"postgresql.schema": Level.WARNING}


async def test_a_server_that_is_not_there_is_not_reached_and_its_password_is_not_shown(database):
    report = await examine(Address.parse("postgresql://aftercommit:swordfish@127.0.0.1:1/shop"))

    assert not report.reached
    assert "swordfish" not in str(report)


async def test_a_database_that_is_not_there_is_not_reached(database):
    address = Address.parse(f"postgresql://aftercommit:secret@127.0.0.1:{database.port}/no_such_database")

    assert "no_such_database" in found(await examine(address), "connection").found


async def test_a_careless_server_is_told_all_of_it(careless):
    with careless.database() as made:
        report = await examine(Address.parse(made.url()))

    assert levels(report) == {
        "postgresql.fsync": Level.ERROR,
        "postgresql.full_page_writes": Level.WARNING,
        "postgresql.synchronous_commit": Level.WARNING,
        "postgresql.autovacuum": Level.ERROR,
        "postgresql.connections": Level.ERROR,
        "postgresql.schema": Level.WARNING,
    }
    assert not report.healthy


async def test_a_standby_is_an_error():
    server = Standby.found()
    require_server(Postgres.name, found=server is not None)
    assert server is not None
    with server:
        report = await examine(Address.parse(f"postgresql://aftercommit:secret@127.0.0.1:{server.port}/postgres"))

    assert found(report, "primary").level is Level.ERROR


@pytest.mark.parametrize(
    ("setting", "check", "level"),
    [
        ("default_transaction_read_only = on", "primary", Level.ERROR),
        ("synchronous_commit = local", "synchronous_commit", Level.WARNING),
        ("idle_session_timeout = '5s'", "timeouts", Level.WARNING),
    ],
)
async def test_settings_of_the_database_are_seen(database, setting, check, level):
    await run(database, f"ALTER DATABASE {database.database} SET {setting}")

    assert found(await examine(database), check).level is level


async def test_another_isolation_is_only_told(installed):
    await run(installed, f"ALTER DATABASE {installed.database} SET default_transaction_isolation = 'serializable'")

    report = await examine(installed)

    assert "serializable" in found(report, "isolation").found
    assert report.healthy


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, -HOUR_MS])
async def test_a_clock_that_is_far_off_is_told(database, ahead_ms):
    finding = found(await examine(database, ahead_ms=ahead_ms), "clock")

    assert finding.level is Level.WARNING
    assert ("ahead of" if ahead_ms > 0 else "behind") in finding.found
    assert "3600" in finding.found


async def test_another_encoding_is_an_error(database, postgres):
    name = f"{database.database}_latin"
    await run(database, f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    try:
        report = await examine(Address.parse(f"postgresql://aftercommit:secret@127.0.0.1:{database.port}/{name}"))
    finally:
        await run(database, f"DROP DATABASE {name} WITH (FORCE)")

    assert found(report, "encoding").level is Level.ERROR


async def test_too_few_connections_for_the_workers_are_an_error(database):
    assert found(await examine(database, workers=1), "connections").level is Level.OK

    await run(database, f"ALTER DATABASE {database.database} CONNECTION LIMIT 11")

    assert found(await examine(database, workers=1), "connections").level is Level.ERROR


async def test_connections_that_others_have_are_counted(database):
    async with AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(connected(database))
        assert (
            found(await examine(database, workers=192 // CONNECTIONS_PER_WORKER), "connections").level is Level.WARNING
        )


async def test_a_day_without_partition_is_told(installed):
    await run(installed, f"DROP TABLE event_{wall_ms() // DAY_MS + 1}")

    finding = found(await examine(installed), "partitions")

    assert finding.level is Level.WARNING
    assert f"event_{wall_ms() // DAY_MS + 1}" in finding.found


async def test_a_missing_default_partition_is_an_error(installed):
    await run(installed, "DROP TABLE content_rest")

    assert found(await examine(installed), "partitions").level is Level.ERROR


async def test_rows_in_a_default_partition_are_told(installed):
    await run(
        installed,
        "INSERT INTO content (id, content_type, form, headers, fingerprint, payload)"
        " VALUES ('00000000-0000-7000-8000-000000000000', 'text/plain', 'text', '{}', '', '')",
    )

    finding = found(await examine(installed), "partitions")

    assert finding.level is Level.WARNING
    assert "content" in finding.found


@asynccontextmanager
async def stranger(address: Address, *grants: str) -> AsyncIterator[Address]:
    """Another user of the database."""
    name = f"{address.database}_user"
    await run(address, f"CREATE ROLE {name} LOGIN", *(f"GRANT {each} TO {name}" for each in grants))
    try:
        yield Address.parse(f"postgresql://{name}:x@{address.host}:{address.port}/{address.database}")
    finally:
        await run(address, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


async def test_a_user_who_may_only_read_is_an_error(installed):
    async with stranger(installed, "SELECT ON ALL TABLES IN SCHEMA public") as address:
        finding = found(await examine(address), "privileges")

    assert finding.level is Level.ERROR
    assert "DELETE on app" in finding.found


async def test_a_user_who_does_not_own_the_tables_is_an_error(installed):
    grants = ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public", "CREATE ON SCHEMA public")
    async with stranger(installed, *grants) as address:
        finding = found(await examine(address), "privileges")

    assert finding.level is Level.ERROR
    assert "owns" in finding.found


async def test_a_user_who_may_make_no_tables_is_an_error(installed):
    async with stranger(installed, "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public") as address:
        await run(installed, *(f"ALTER TABLE {each} OWNER TO {address.user}" for each in PARTITIONED))
        finding = found(await examine(address), "privileges")

    assert finding.level is Level.ERROR
    assert "make tables" in finding.found


async def test_what_a_user_may_not_see_is_said(installed):
    async with stranger(installed) as address:
        assert "pg_read_all_stats" in found(await examine(address), "old_transactions").found


async def test_an_old_transaction_is_told(database, monkeypatch):
    monkeypatch.setattr(postgres_tables, "OLD_SECONDS", 0)
    async with connected(database) as connection, connection.transaction():
        await connection.execute("SELECT 1")
        told = found(await examine(database), "old_transactions")

    assert told.level is Level.WARNING
    assert found(await examine(database), "old_transactions").level is Level.OK


async def test_an_old_prepared_transaction_is_told(careless, monkeypatch):
    monkeypatch.setattr(postgres_tables, "OLD_SECONDS", 0)
    with careless.database() as made:
        address = Address.parse(made.url())
        await run(address, "BEGIN", "CREATE TABLE kept (id INT)", "PREPARE TRANSACTION 'forgotten'")
        try:
            finding = found(await examine(address), "prepared_transactions")
        finally:
            await run(address, "ROLLBACK PREPARED 'forgotten'")

    assert finding.level is Level.WARNING
    assert "forgotten" in finding.found


async def test_a_replication_slot_that_nobody_reads_is_told(careless):
    with careless.database() as made:
        address = Address.parse(made.url())
        await run(address, "SELECT pg_create_physical_replication_slot('left_behind', true)")
        try:
            finding = found(await examine(address), "replication_slots")
        finally:
            await run(address, "SELECT pg_drop_replication_slot('left_behind')")

    assert finding.level is Level.WARNING
    assert "left_behind" in finding.found


async def test_an_index_of_somebody_elses_on_what_changes_is_told(installed):
    await run(installed, "CREATE INDEX by_day ON message (prepared_at)", "CREATE INDEX by_error ON message (error)")

    finding = found(await examine(installed), "extra_indexes")

    assert finding.level is Level.WARNING
    assert "by_error" in finding.found
    assert "by_day" not in finding.found


async def test_an_index_on_one_partition_is_told_too(installed):
    await run(installed, f"CREATE INDEX of_today ON message_{wall_ms() // DAY_MS} (lower(error))")

    assert "of_today" in found(await examine(installed), "extra_indexes").found


async def test_autovacuum_switched_off_for_a_table_is_told(installed):
    await run(installed, f"ALTER TABLE message_{wall_ms() // DAY_MS} SET (autovacuum_enabled = false)")

    assert found(await examine(installed), "autovacuum").level is Level.WARNING


async def test_a_connection_that_a_node_cannot_make_is_an_error(database, monkeypatch):
    """Something in between refuses what a node sets on connecting, as poolers do."""
    monkeypatch.setattr(doctor, "HOLD_SECONDS", 10**9)

    assert found(await examine(database), "session").level is Level.ERROR


async def test_standbys_that_follow_asynchronously_are_told(database):
    following = f"postgresql://aftercommit:secret@127.0.0.1:{database.port}/postgres?replication=true"
    with closing(psycopg.connect(following, autocommit=True)):
        assert found(await examine(database), "synchronous_commit").level is Level.WARNING
