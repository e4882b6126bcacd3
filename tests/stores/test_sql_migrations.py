"""The schema of PostgreSQL, MySQL and MariaDB, and its versions."""

import ast
from pathlib import Path

import psycopg
import pymysql
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.migrate import (
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
from tests.stores.sql_schemas import (
    add_migration,
    ask,
    connected,
    described,
    make_from_description,
    never,
    partitions,
    tables,
)

NAMES = [each.name for each in known_migrations()]


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
