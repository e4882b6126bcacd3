"""What the doctor finds at MariaDB, and at what only MySQL or a cluster would say."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any, cast

import pymysql
import pytest

from aftercommit.clocks import wall_ms
from aftercommit.doctor import mysql, mysql_durability, mysql_server
from aftercommit.doctor.finding import Level, Report
from aftercommit.doctor.limits import CONNECTIONS_PER_WORKER
from aftercommit.doctor.mysql import examine_mysql
from aftercommit.doctor.mysql_server import Server
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.migrate import require_known_schema
from aftercommit.stores.sql.session import Session
from tests.doctor.reading import found, levels
from tests.servers import require_server
from tests.servers.mariadb import MariaDB

HOUR_MS = 3600 * 1000


class Careless(MariaDB):
    """A server that somebody has made fast."""

    def command(self) -> list[str]:
        """The same server, told not to be careful."""
        durability = ("innodb-flush-log-at-trx-commit=2", "log-bin=log", "sync-binlog=0", "innodb-doublewrite=OFF")
        limits = ("max-connections=11", "max-allowed-packet=1M", "max-statement-time=5", "binlog-format=STATEMENT")
        return [*super().command(), *(f"--{each}" for each in (*durability, *limits))]


@pytest.fixture(scope="module")
def careless() -> Iterator[MariaDB]:
    server = Careless.found()
    require_server(MariaDB.name, found=server is not None)
    assert server is not None
    with server:
        yield server


@pytest.fixture
def database(mariadb: MariaDB) -> Iterator[Address]:
    with mariadb.database() as made:
        yield Address.parse(made.url())


@pytest.fixture
async def installed(database: Address) -> Address:
    """A database with our tables."""
    await require_known_schema(database, migrate=True)
    return database


async def examine(address: Address, *, workers: int = 2, ahead_ms: int = 0) -> Report:
    return await examine_mysql(address, workers=workers, read_ms=lambda: wall_ms() - ahead_ms)


def run(address: Address, *statements: str) -> None:
    with closing(connect(address)) as connection, connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)


def connect(address: Address) -> Any:
    return pymysql.connect(
        host=address.host, port=address.port, user=address.user, password="secret", database=address.database
    )


@asynccontextmanager
async def set_globally(address: Address, **variables: object) -> AsyncIterator[None]:
    """Variables of the whole server, for a while."""
    with closing(connect(address)) as connection, connection.cursor() as cursor:
        before = {}
        for name, value in variables.items():
            cursor.execute(f"SELECT @@GLOBAL.{name}")
            [before[name]] = cursor.fetchone()
            cursor.execute(f"SET GLOBAL {name} = %s", [value])
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = %s", [value])


async def test_a_database_that_a_node_uses_is_healthy(installed):
    assert levels(await examine(installed)) == {}


async def test_an_empty_database_only_lacks_its_tables(database):
    assert levels(await examine(database)) == {"mysql.schema": Level.WARNING}


@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql"])
@pytest.mark.parametrize("port", [None, 1])
async def test_what_cannot_be_reached_is_told_and_its_password_is_not_shown(database, driver, port):
    pytest.importorskip(driver)
    url = f"mysql://aftercommit:swordfish@127.0.0.1:{port or database.port}/{database.database}?driver={driver}"

    report = await examine(Address.parse(url))

    assert not report.reached
    assert "swordfish" not in str(report)


class Speechless:
    """A driver that lacks what the server's way of checking passwords needs."""

    MySQLError = pymysql.MySQLError

    async def connect(self, **_options: object) -> None:
        """As asyncmy says it."""
        raise RuntimeError("'cryptography' package is required for caching_sha2_password auth methods")


async def test_a_package_that_the_driver_lacks_is_told(database, monkeypatch):
    monkeypatch.setattr(mysql, "import_module", lambda _name: Speechless())

    assert "cryptography" in found(await examine(database), "connection").found


async def test_a_careless_server_is_told_all_of_it(careless):
    with careless.database() as made:
        report = await examine(Address.parse(made.url()))

    assert levels(report) == {
        "mysql.innodb_flush_log_at_trx_commit": Level.ERROR,
        "mysql.sync_binlog": Level.ERROR,
        "mysql.binlog_format": Level.ERROR,
        "mysql.innodb_doublewrite": Level.WARNING,
        "mysql.max_allowed_packet": Level.ERROR,
        "mysql.timeouts": Level.ERROR,
        "mysql.connections": Level.ERROR,
        "mysql.schema": Level.WARNING,
    }


@pytest.mark.parametrize(
    ("variables", "check", "level"),
    [
        ({"read_only": 1}, "writable", Level.ERROR),
        ({"wait_timeout": 5}, "timeouts", Level.WARNING),
        ({"idle_write_transaction_timeout": 3}, "timeouts", Level.ERROR),
        ({"max_connections": 20}, "connections", Level.ERROR),
    ],
)
async def test_variables_of_the_server_are_seen(database, variables, check, level):
    async with set_globally(database, **variables):
        assert found(await examine(database), check).level is level


async def test_connections_that_others_have_are_counted(database):
    name = f"{database.database}_other"
    run(database, f"CREATE USER {name}@'127.0.0.1'")
    try:
        async with set_globally(database, max_connections=2 * CONNECTIONS_PER_WORKER):
            with closing(pymysql.connect(host=database.host, port=database.port, user=name)):
                told = found(await examine(database), "connections")
    finally:
        run(database, f"DROP USER {name}@'127.0.0.1'")

    assert told.level is Level.WARNING


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, -HOUR_MS])
async def test_a_clock_that_is_far_off_is_told(database, ahead_ms):
    finding = found(await examine(database, ahead_ms=ahead_ms), "clock")

    assert finding.level is Level.WARNING
    assert ("ahead of" if ahead_ms > 0 else "behind") in finding.found


async def test_a_table_without_transactions_is_an_error(installed):
    run(installed, "ALTER TABLE fact ENGINE = MyISAM")

    finding = found(await examine(installed), "engine")

    assert finding.level is Level.ERROR
    assert "fact" in finding.found


async def test_a_table_that_confuses_names_is_an_error(installed):
    run(installed, "ALTER TABLE fact CONVERT TO CHARACTER SET latin1")

    assert found(await examine(installed), "character_set").level is Level.ERROR


async def test_a_user_who_may_only_read_is_an_error(installed):
    name = f"{installed.database}_user"
    run(installed, f"CREATE USER {name}@'127.0.0.1'", f"GRANT SELECT ON {installed.database}.* TO {name}@'127.0.0.1'")
    try:
        report = await examine(Address.parse(f"mysql://{name}@{installed.host}:{installed.port}/{installed.database}"))
    finally:
        run(installed, f"DROP USER {name}@'127.0.0.1'")

    lacking = found(report, "privileges")
    assert lacking.level is Level.ERROR
    assert "DELETE on app" in lacking.found
    # Others' transactions are not for everybody to see.
    assert found(report, "old_transactions").level is Level.WARNING


async def test_nothing_is_written_by_asking_for_rights(installed):
    await examine(installed)

    with closing(connect(installed)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM app")
        assert cursor.fetchone() == (0,)


async def test_an_old_transaction_is_told(installed, monkeypatch):
    monkeypatch.setattr(mysql_server, "OLD_SECONDS", 0)
    with closing(connect(installed)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM fact FOR UPDATE")
        told = found(await examine(installed), "old_transactions")

    assert told.level is Level.WARNING


class Connector:
    """Stands where a node's connections are made: connects, to what answers as it is told, or cannot."""

    def __init__(self, answer: list[tuple[str, str]] | StoreUnavailable) -> None:
        self._answer = answer

    def connector(self, _hold_seconds: float) -> "Connector":
        """As a back end has it."""
        return self

    async def __call__(self) -> "Connector":
        """Connect."""
        if isinstance(self._answer, StoreUnavailable):
            raise self._answer
        return self

    async def rows(self, _statement: str) -> object:
        """Whatever is asked."""
        return self._answer

    def terminate(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ([("tx_isolation", "READ-COMMITTED")], Level.OK),
        ([("tx_isolation", "READ-COMMITTED"), ("transaction_isolation", "READ-COMMITTED")], Level.OK),
        ([("tx_isolation", "REPEATABLE-READ")], Level.ERROR),
        ([], Level.ERROR),
        (StoreUnavailable("Too many connections."), Level.ERROR),
    ],
)
async def test_what_a_node_asks_of_its_connection_must_be_so(database, monkeypatch, answer, level):
    monkeypatch.setattr(mysql, "backend_for", lambda _address: Connector(answer))

    assert found(await examine(database), "session").level is level


class Statuses:
    """A session that knows status variables."""

    def __init__(self, **known: str) -> None:
        self._known = known

    async def rows(self, statement: str) -> list[tuple[str, str]]:
        """The one that is asked for, if it is known."""
        return [(name, value) for name, value in self._known.items() if f"'{name}'" in statement]


def server(*, version: str = "8.4.0", host: str = "127.0.0.1", status: Any = None, **variables: str) -> Server:
    """A server that is not here."""
    return Server(
        session=cast("Session", status or Statuses()),
        address=Address.parse(f"mysql://aftercommit@{host}/shop"),
        version=version,
        variables=variables,
        workers=1,
        ahead_ms=0,
    )


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("8.0.0", Level.ERROR),
        ("8.0.1", Level.OK),
        ("8.0.mysql_aurora.3.05.2", Level.OK),
        ("5.7.44-log", Level.ERROR),
        ("9.1.0", Level.OK),
        ("10.5.23-MariaDB-1:10.5.23+maria~deb11", Level.ERROR),
        ("10.6.0-MariaDB", Level.OK),
        ("11.4.2-MariaDB-log", Level.OK),
        ("a database", Level.WARNING),
    ],
)
async def test_versions_that_pass_by_locked_rows_are_wanted(version, level):
    assert (await mysql_server.version(server(version=version))).level is level


async def test_galera_is_never_an_anchor():
    galera = server(wsrep_on="ON", status=Statuses(wsrep_cluster_status="Primary"))
    cut_off = server(wsrep_on="ON", status=Statuses(wsrep_cluster_status="non-Primary"))

    assert (await mysql_durability.cluster(galera)).level is Level.WARNING
    assert (await mysql_durability.cluster(cut_off)).level is Level.ERROR


async def test_several_primaries_are_told():
    assert (await mysql_durability.cluster(server(group_replication_single_primary_mode="OFF"))).level is Level.WARNING


async def test_semi_synchronous_replication_changes_what_acknowledged_means():
    assert "replica" in (await mysql_durability.acknowledged(server(rpl_semi_sync_source_enabled="ON"))).found


async def test_an_unencrypted_connection_that_leaves_the_machine_is_told():
    plain = server(host="db.example.com", status=Statuses(Ssl_cipher=""))
    encrypted = server(host="db.example.com", status=Statuses(Ssl_cipher="TLS_AES_256_GCM_SHA384"))

    assert (await mysql_server.encryption(plain)).level is Level.WARNING
    assert (await mysql_server.encryption(encrypted)).level is Level.OK
