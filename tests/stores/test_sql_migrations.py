"""The schema of PostgreSQL, MySQL and MariaDB, and its versions."""

import ast
import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import alembic.op
import psycopg
import pymysql
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql import migrate
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.migrate import (
    LOCK,
    PAUSE_SECONDS,
    SCRIPTS,
    VERSION_TABLE,
    known_migrations,
    migrations_sql,
    missing_migrations,
    require_known_schema,
    run_migrations,
)
from aftercommit.stores.sql.schema import HOT_STORAGE, PARTITION_STORAGE, PARTITIONED, metadata
from tests.servers.databases import FreshDatabase
from tests.stores.sql_schemas import ask, connected, described, partitions

NAMES = [each.name for each in known_migrations()]
AT_ONCE_SECONDS = 20
MORE = """\"\"\"One more.\"\"\"
import sqlalchemy as sa
from alembic import op
from aftercommit.stores.sql.migrations.again import create_table
revision = "{number}"
down_revision = "{before}"
def upgrade() -> None:
    create_table("more", sa.Column("id", sa.Integer))
    op.execute("{statement}")
"""


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[FreshDatabase]:
    """An empty database, once of each kind."""
    with request.getfixturevalue(request.param).database() as fresh:
        yield fresh


@pytest.fixture
def another(database: FreshDatabase, request: pytest.FixtureRequest) -> Iterator[FreshDatabase]:
    """An empty database of the same kind."""
    server = "postgres" if database.scheme == "postgresql" else "mariadb"
    with request.getfixturevalue(server).database() as fresh:
        yield fresh


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that a test may add to."""
    copied = tmp_path / "100% copied"
    shutil.copytree(SCRIPTS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "SCRIPTS", copied)
    return copied


def add_migration(scripts: Path, statement: str) -> str:
    """A migration that makes a table and then runs `statement`; its name."""
    number = f"{len(NAMES) + 1:04}"
    script = MORE.format(number=number, before=NAMES[-1][:4], statement=statement)
    (scripts / "versions" / f"{number}_more.py").write_text(script)
    return f"{number}_more"


def make_from_description(database: FreshDatabase) -> None:
    with connected(database) as connection:
        metadata(database.scheme).create_all(connection)


def tables(database: FreshDatabase) -> set[str]:
    with connected(database) as connection:
        return set(inspect(connection).get_table_names())


def run_script(database: FreshDatabase, script: str) -> None:
    """As `psql` and `mysql` would: all statements of a text, each committed unless the text says otherwise."""
    if database.scheme == "postgresql":
        with psycopg.connect(database.url(), autocommit=True) as connection:
            connection.execute(script.encode())
        return
    several = pymysql.constants.CLIENT.MULTI_STATEMENTS
    options = {"user": database.user, "password": database.password, "database": database.name}
    server = pymysql.connect(host=database.host, port=database.port, autocommit=True, client_flag=several, **options)
    with server, server.cursor() as cursor:
        cursor.execute(script)
        while cursor.nextset():
            continue


async def never(seconds: float) -> None:
    raise AssertionError(f"nothing was in the way, but it paused for {seconds} s")


def test_migrations_are_numbered_without_a_gap_and_follow_each_other() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))

    in_order = list(reversed(list(ScriptDirectory.from_config(config).walk_revisions())))

    versions = [each.version for each in known_migrations()]
    assert versions == [f"{number:04}" for number in range(1, len(NAMES) + 1)]
    assert [each.revision for each in in_order] == versions
    assert [each.down_revision for each in in_order] == [None, *versions[:-1]]


def test_no_migration_leads_back() -> None:
    for each in (SCRIPTS / "versions").glob("*.py"):
        functions = {node.name for node in ast.parse(each.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert "upgrade" in functions, each.name
        assert "downgrade" not in functions, each.name


async def test_all_migrations_together_make_the_described_schema(
    database: FreshDatabase, another: FreshDatabase
) -> None:
    await run_migrations(database.url(), pause=never)
    make_from_description(another)

    assert described(database) == described(another)
    assert described(database).keys() >= metadata(database.scheme).tables.keys()


async def test_alembic_finds_no_difference_either(database: FreshDatabase) -> None:
    await run_migrations(database.url(), pause=never)

    rests = {f"{each}_rest" for each in PARTITIONED}
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "version_table": VERSION_TABLE,
        "include_name": lambda name, kind, _parents: kind != "table" or name not in rests,
    }
    with connected(database) as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata(database.scheme)) == []


async def test_what_a_description_lacks_is_noticed(database: FreshDatabase, another: FreshDatabase) -> None:
    """The comparison itself: each of these differences shows."""
    make_from_description(another)
    whole = described(another)
    changes = ["DROP INDEX message_list", "ALTER TABLE fact SET (fillfactor = 60)"]
    changes += ["ALTER TABLE message ALTER attempts SET DEFAULT 1", "ALTER SEQUENCE event_number CACHE 7"]
    if another.scheme == "mysql":
        changes = ["DROP INDEX message_list ON message", "ALTER TABLE message MODIFY attempts INTEGER NOT NULL"]
        changes += ["ALTER TABLE message ADD INDEX more (app)", "ALTER TABLE fact CHARACTER SET latin1"]

    for each in changes:
        ask(another, each)
        assert described(another) != whole, each
        whole = described(another)


async def test_each_partitioned_table_has_a_place_for_the_rest(postgres) -> None:
    with postgres.database() as fresh:
        await run_migrations(fresh.url(), pause=never)

        expected = {f"{table}_rest": (table, "DEFAULT", PARTITION_STORAGE[table]) for table in PARTITIONED}
        assert partitions(fresh) == expected
        for name, storage in HOT_STORAGE.items():
            [[options]] = ask(fresh, "SELECT reloptions FROM pg_class WHERE relname = :name", name=name)
            assert dict(each.split("=") for each in options) == storage


async def test_the_facts_are_there(database: FreshDatabase) -> None:
    await run_migrations(database.url(), pause=never)

    assert sorted(ask(database, "SELECT name, value FROM fact")) == [("catalog", 0), ("next_id", 1), ("pings", 0)]
    assert ask(database, f"SELECT version_num FROM {VERSION_TABLE}") == [(NAMES[-1][:4],)]


async def test_migrating_twice_does_nothing_the_second_time(database: FreshDatabase) -> None:
    assert await missing_migrations(database.url()) == NAMES
    assert tables(database) == set()

    assert await run_migrations(database.url(), pause=never) == NAMES
    before = described(database)

    assert await missing_migrations(database.url()) == []
    assert await run_migrations(database.url(), pause=never) == []
    assert described(database) == before


async def test_a_pooler_of_transactions_may_stand_between(postgres) -> None:
    with postgres.database() as fresh:
        assert await run_migrations(f"{fresh.url()}?pooler=transaction", pause=never) == NAMES


async def test_the_script_does_the_same(database: FreshDatabase, another: FreshDatabase) -> None:
    script = await migrations_sql(database.url())
    assert tables(database) == set()

    run_script(database, script)

    await run_migrations(another.url(), pause=never)
    assert described(database) == described(another)
    assert sorted(ask(database, "SELECT * FROM fact")) == sorted(ask(another, "SELECT * FROM fact"))
    assert await missing_migrations(database.url()) == []
    assert await migrations_sql(database.url()) == ""


async def test_the_script_has_only_what_is_missing(database: FreshDatabase, scripts: Path) -> None:
    await run_migrations(database.url(), pause=never)
    added = add_migration(scripts, "SELECT 1")

    script = await migrations_sql(database.url())
    run_script(database, script)

    assert "CREATE TABLE message" not in script
    assert await missing_migrations(database.url()) == []
    assert ask(database, f"SELECT version_num FROM {VERSION_TABLE}") == [(added[:4],)]


async def test_of_two_at_once_one_migrates(database: FreshDatabase, another: FreshDatabase) -> None:
    both = await asyncio.gather(*(run_migrations(database.url(), pause=never) for _ in range(2)))

    assert sorted(both) == [[], NAMES]
    make_from_description(another)
    assert described(database) == described(another)


async def test_who_comes_second_waits_for_the_first(database: FreshDatabase) -> None:
    """Somebody else holds the lock; only when he lets go is anything done."""
    take, waiting = f"SELECT pg_advisory_xact_lock({LOCK})", "SELECT 1 FROM pg_locks WHERE NOT granted"
    if database.scheme == "mysql":
        take = "SELECT GET_LOCK(CONCAT('aftercommit ', MD5(DATABASE())), 0)"
        waiting = "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'"
    with connected(database) as first:
        first.execute(text(take))
        second = asyncio.create_task(run_migrations(database.url(), pause=never))
        async with asyncio.timeout(AT_ONCE_SECONDS):
            while not await asyncio.to_thread(ask, database, waiting):
                assert not second.done()
        assert not second.done()
        assert tables(database) == set()

    assert await second == NAMES


async def test_a_table_in_use_is_not_waited_for_long_but_again(
    database: FreshDatabase, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_migrations(database.url(), pause=never)
    added = add_migration(scripts, "ALTER TABLE message ADD COLUMN more INTEGER")
    monkeypatch.setattr(migrate, "TABLE_WAIT_SECONDS", 1)
    pauses: list[float] = []

    with connected(database) as reader:
        reader.execute(text("SELECT count(*) FROM message"))

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                reader.rollback()

        applied = await run_migrations(database.url(), pause=pause)

    assert applied == [added]
    assert pauses == [PAUSE_SECONDS, PAUSE_SECONDS]


async def test_a_table_that_stays_in_use_ends_in_a_sentence(
    database: FreshDatabase, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_migrations(database.url(), pause=never)
    add_migration(scripts, "ALTER TABLE message ADD COLUMN more INTEGER")
    monkeypatch.setattr(migrate, "TABLE_WAIT_SECONDS", 1)
    monkeypatch.setattr(migrate, "TRIES_MAX", 1)

    with connected(database) as reader:
        reader.execute(text("SELECT count(*) FROM message"))
        with pytest.raises(ConfigurationError, match="in use for too long"):
            await run_migrations(database.url(), pause=never)


async def test_a_migration_that_fails_says_why_and_leaves_postgresql_as_it_was(postgres, scripts: Path) -> None:
    with postgres.database() as fresh:
        await run_migrations(fresh.url(), pause=never)
        before = described(fresh)
        added = add_migration(scripts, "ALTER TABLE nowhere ADD COLUMN more INTEGER")

        with pytest.raises(ConfigurationError, match='migrated: relation "nowhere" does not exist') as refused:
            await run_migrations(fresh.url(), pause=never)

        assert "ALTER" not in str(refused.value)
        assert described(fresh) == before
        assert await missing_migrations(fresh.url()) == [added]


async def test_a_first_migration_may_be_killed_after_each_step(
    database: FreshDatabase, another: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MySQL each run gets one step further; on PostgreSQL nothing is left of any."""
    steps = {"left": 0}

    def one_step(original):
        def step(*arguments, **options):
            if steps["left"] == 0:
                raise ConnectionResetError("killed")
            steps["left"] -= 1
            return original(*arguments, **options)

        return step

    for name in ("create_table", "create_index", "bulk_insert"):
        monkeypatch.setattr(alembic.op, name, one_step(getattr(alembic.op, name)))

    killed = 0
    for _ in range(50):
        steps["left"] = 5 * killed + 1 if database.scheme == "postgresql" else 1
        try:
            await run_migrations(database.url(), pause=never)
            break
        except ConfigurationError:
            assert steps["left"] == 0
            killed += 1
        assert database.scheme == "mysql" or tables(database) == set()
        assert await missing_migrations(database.url()) == NAMES

    assert killed > (3 if database.scheme == "postgresql" else len(metadata(database.scheme).tables))
    make_from_description(another)
    assert described(database) == described(another)
    assert sorted(ask(database, "SELECT name, value FROM fact")) == [("catalog", 0), ("next_id", 1), ("pings", 0)]


async def test_a_newer_database_is_refused(database: FreshDatabase) -> None:
    await run_migrations(database.url(), pause=never)
    ask(database, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    sentence = f"schema version 9999, this AfterCommit knows up to {NAMES[-1][:4]}: run the newer"

    with pytest.raises(ConfigurationError, match=sentence):
        await run_migrations(database.url(), pause=never)
    with pytest.raises(ConfigurationError, match=sentence):
        await missing_migrations(database.url())
    with pytest.raises(ConfigurationError, match=sentence):
        await require_known_schema(Address.parse(database.url()), migrate=True)


async def test_a_node_needs_the_schema_to_be_there(database: FreshDatabase) -> None:
    address = Address.parse(database.url())
    with pytest.raises(ConfigurationError, match=r"run `aftercommit migrate`"):
        await require_known_schema(address)
    assert tables(database) == set()

    await run_migrations(database.url(), pause=never)

    await require_known_schema(address)


async def test_a_node_may_make_the_schema_itself(database: FreshDatabase) -> None:
    await require_known_schema(Address.parse(database.url()), migrate=True)

    assert await missing_migrations(database.url()) == []


async def test_somebody_elses_database_is_refused(database: FreshDatabase) -> None:
    ask(database, "CREATE TABLE message (theirs INTEGER)")

    for refused in (run_migrations, missing_migrations, migrations_sql):
        with pytest.raises(ConfigurationError, match=r"somebody else \(message\)"):
            await refused(database.url())

    assert tables(database) == {"message"}


async def test_other_tables_beside_ours_are_left_alone(database: FreshDatabase) -> None:
    ask(database, "CREATE TABLE theirs (id INTEGER PRIMARY KEY)")

    assert await run_migrations(database.url(), pause=never) == NAMES

    assert "theirs" in tables(database)


async def test_a_database_that_is_not_there_is_told_in_a_sentence(database: FreshDatabase) -> None:
    url = database.url().replace(database.name, "nowhere")
    with pytest.raises(ConfigurationError, match=r"could not be read: .*nowhere") as refused:
        await missing_migrations(url)

    assert database.password not in str(refused.value)


async def test_a_server_that_is_not_there_is_told_in_a_sentence(database: FreshDatabase) -> None:
    url = database.url().replace(f":{database.port}", ":1")
    for refused in (run_migrations, missing_migrations, migrations_sql):
        with pytest.raises(ConfigurationError, match="Connect call failed") as told:
            await refused(url)
        assert database.password not in str(told.value)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("postgresql://anna@db/shop", "asyncpg", "postgres"),
        ("mysql://anna@db/shop", "asyncmy", "mysql"),
        ("mysql://anna@db/shop?driver=aiomysql", "aiomysql", "mysql"),
    ],
)
async def test_a_missing_driver_is_told_in_a_sentence(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ConfigurationError, match=rf"needs {package}: pip install 'aftercommit\[{extra}\]'\."):
        await missing_migrations(url)


async def test_a_missing_alembic_is_told_in_a_sentence(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)

    for refused in (run_migrations, migrations_sql):
        with pytest.raises(ConfigurationError, match=r"needs alembic: pip install 'aftercommit\["):
            await refused(database.url())
    assert tables(database) == set()
