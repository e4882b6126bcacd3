"""The database servers that the tests start: they answer, keep what was committed, and stay to themselves."""

from contextlib import ExitStack, closing

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import psycopg
import pymysql
import pytest

from tests.servers import require_server
from tests.servers.databases import FreshDatabase
from tests.servers.mariadb import MariaDB
from tests.servers.ports import accepts_connections
from tests.servers.postgres import Postgres

CUT_OFF = (psycopg.OperationalError, pymysql.err.OperationalError)
DatabaseServer = Postgres | MariaDB


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each of the servers that other tests use, too: a test that kills it starts it again."""
    started: DatabaseServer = request.getfixturevalue(request.param)
    return started


def connect(database: FreshDatabase):
    """A connection that a driver makes, outside of any transaction."""
    if database.scheme == "postgresql":
        return psycopg.connect(database.url(), autocommit=True)
    return pymysql.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.name,
        autocommit=True,
    )


def execute(database: FreshDatabase, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on a connection of their own; the rows of the last one."""
    with closing(connect(database)) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def test_what_was_committed_is_there_after_kill9_and_start(server):
    with server.database() as database:
        execute(database, "CREATE TABLE kept (id INT)", "INSERT INTO kept VALUES (7)")

        server.kill9()
        assert not accepts_connections(server.port)
        server.start()

        assert execute(database, "SELECT id FROM kept") == [(7,)]


def test_a_restart_cuts_clients_off_and_keeps_the_data(server):
    with server.database() as database:
        execute(database, "CREATE TABLE kept (id INT)")
        with closing(connect(database)) as idle:
            server.restart()

            with pytest.raises(CUT_OFF):
                idle.cursor().execute("SELECT 1")
        assert execute(database, "SELECT id FROM kept") == []


def test_each_database_is_empty_and_gone_afterwards_even_with_a_transaction_open(server):
    with ExitStack() as afterwards:
        with server.database() as first, server.database() as second:
            assert first.name != second.name
            execute(first, "CREATE TABLE here (id INT)")
            execute(second, "CREATE TABLE here (id INT)")
            forgotten = afterwards.enter_context(closing(connect(first)))
            forgotten.cursor().execute("BEGIN")
            forgotten.cursor().execute("INSERT INTO here VALUES (1)")

        with pytest.raises(CUT_OFF):
            connect(first)


def test_it_listens_on_a_port_of_its_own_and_not_as_root(server):
    assert server.port != server.default_port
    assert accepts_connections(server.port)
    assert psutil.Process(server.pid).uids().effective != 0


@pytest.mark.parametrize("kind", [Postgres, MariaDB])
def test_nothing_is_left_of_a_server_that_is_over(kind):
    found = kind.found()
    require_server(kind.name, found is not None)
    with found as server:
        assert accepts_connections(server.port)

    assert not server.running
    assert not server.folder.exists()
    assert not accepts_connections(server.port)


def test_its_url_is_what_drivers_and_sqlalchemy_take(postgres, mariadb):
    with postgres.database() as database:
        assert (
            database.url("asyncpg")
            == f"postgresql+asyncpg://aftercommit:secret@127.0.0.1:{postgres.port}/{database.name}"
        )
    with mariadb.database() as database:
        assert database.url("pymysql") == f"mysql+pymysql://aftercommit:secret@127.0.0.1:{mariadb.port}/{database.name}"
