"""One and the same three tables, whoever makes them: the printed SQL, SQLAlchemy, Alembic or Django."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Engine, MetaData, create_engine, inspect, text

from aftercommit.sdk.barrier.markers import mark_committed, settle
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.databases.adapt import database_of, handle_of
from aftercommit.sdk.tables import create_tables, ddl, declare, drop_tables

NAMES = ["aftercommit_inbox", "aftercommit_outbox", "aftercommit_outcome"]
KEYS = {
    "aftercommit_outcome": ["message_id"],
    "aftercommit_inbox": ["subscription", "message_id"],
    "aftercommit_outbox": ["message_id"],
}
DJANGO = """
import json, sys
import django
import pymysql
from django.conf import settings

pymysql.install_as_MySQLdb()
settings.configure(DATABASES={"default": json.loads(sys.argv[1])}, INSTALLED_APPS=["aftercommit.sdk.django"])
django.setup()
from django.core.management import call_command

call_command("migrate", "aftercommit", verbosity=0)
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
"""


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def open_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Makes engines, each for an empty database of its own."""

    @contextmanager
    def opened() -> Iterator[Engine]:
        if request.param == "sqlite":
            with disposed(f"sqlite:///{tmp_path / 'tables.db'}") as engine:
                yield engine
            (tmp_path / "tables.db").unlink()
            return
        server = request.getfixturevalue("postgres" if request.param == "postgresql" else "mariadb")
        with (
            server.database() as database,
            disposed(database.url("psycopg" if request.param == "postgresql" else "pymysql")) as engine,
        ):
            yield engine

    return opened


@contextmanager
def disposed(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def by_printed_sql(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in ddl(engine.dialect.name):
            connection.exec_driver_sql(statement)


def by_sqlalchemy(engine: Engine) -> None:
    metadata = MetaData()
    declare(metadata)
    metadata.create_all(engine)


def by_alembic(engine: Engine) -> None:
    with engine.begin() as connection:
        create_tables(operations(connection))


def by_django(engine: Engine) -> None:
    url = engine.url
    database = {
        "ENGINE": f"django.db.backends.{url.get_backend_name().replace('sqlite', 'sqlite3')}",
        "NAME": url.database,
        "HOST": url.host or "",
        "PORT": url.port or "",
        "USER": url.username or "",
        "PASSWORD": url.password or "",
    }
    subprocess.run([sys.executable, "-c", DJANGO, json.dumps(database)], check=True, timeout=60)


WAYS = [by_printed_sql, by_sqlalchemy, by_alembic, by_django]


def operations(connection: Connection) -> Operations:
    return Operations(MigrationContext.configure(connection))


def described(engine: Engine) -> dict[str, Any]:
    """Everything the database knows about our tables."""
    seen = inspect(engine)
    found: dict[str, Any] = {
        name: (
            [(each["name"], repr(each["type"]), each["nullable"]) for each in seen.get_columns(name)],
            seen.get_pk_constraint(name)["constrained_columns"],
            seen.get_indexes(name),
        )
        for name in NAMES
    }
    if engine.dialect.name == "mysql":
        with engine.connect() as connection:
            for what in (
                "table_name, column_name, column_type, collation_name FROM information_schema.columns",
                "table_name, engine FROM information_schema.tables",
            ):
                where = "table_schema = DATABASE() AND table_name LIKE 'aftercommit%'"
                rows = connection.execute(text(f"SELECT {what} WHERE {where} ORDER BY 1, 2"))
                found[what] = [tuple(row) for row in rows]
    return found


def test_every_way_makes_the_same_tables(open_engine):
    descriptions = []
    for make in WAYS:
        with open_engine() as engine:
            make(engine)
            descriptions.append(described(engine))

    assert all(each == descriptions[0] for each in descriptions)
    assert {name: descriptions[0][name][1] for name in NAMES} == KEYS
    # Ids in the order of time are the index of the purge; another one would only cost.
    assert all(descriptions[0][name][2] == [] for name in NAMES)


def test_mysqls_ids_are_compared_byte_by_byte_in_innodb(mariadb):
    with mariadb.database() as database, disposed(database.url("pymysql")) as engine:
        by_printed_sql(engine)
        found = [row for rows in described(engine).values() if isinstance(rows, list) for row in rows]

    assert ("aftercommit_outcome", "message_id", "varchar(36)", "ascii_bin") in found
    assert ("aftercommit_outcome", "at", "datetime(3)", None) in found
    assert ("aftercommit_outcome", "InnoDB") in found


@pytest.mark.parametrize("make", WAYS)
def test_autogenerate_finds_no_difference_and_every_statement_runs(open_engine, make):
    metadata = MetaData(schema=None)
    declare(metadata)
    with open_engine() as engine:
        make(engine)
        options = {"compare_type": True, "include_name": lambda name, kind, parents: kind != "table" or name in NAMES}
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        run_now(every_statement(engine))


async def every_statement(engine: Engine) -> None:
    async with database_of(engine).open() as opened:
        handle = handle_of(opened.target)
        statements = handle.dialect
        await handle.begin()
        await mark_committed(handle, ["a"])
        await handle.execute(statements.receive(), ["stock", "a"])
        await handle.execute(statements.store(1), ["a", b"\x00\xff"])
        assert await handle.execute(statements.old_markers(), [-1, "", 1]) == [("a",)]
        assert await handle.execute(statements.old_receipts(), ["stock", -1, "", 1]) == [("a",)]
        assert await handle.execute(statements.old_markers(), [1, "", 1]) == []
        ((message_id, message),) = await handle.execute(statements.stored(), ["", 1])
        assert (message_id, bytes(message)) == ("a", b"\x00\xff")
        await handle.commit()
    assert await settle(database_of(engine), ["a", "A"]) == {"a": Outcome.COMMITTED, "A": Outcome.ROLLED_BACK}


def test_a_database_without_them_is_a_difference(open_engine):
    metadata = MetaData()
    declare(metadata, outbox=False)
    with open_engine() as engine, engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert sorted(table.name for verb, table in found if verb == "add_table") == [
        "aftercommit_inbox",
        "aftercommit_outcome",
    ]


def test_what_a_migration_made_it_can_drop(open_engine):
    with open_engine() as engine:
        by_alembic(engine)
        with engine.begin() as connection:
            drop_tables(operations(connection), inbox=False)
        assert inspect(engine).get_table_names() == ["aftercommit_inbox"]


def test_the_schema_of_a_metadata_is_not_theirs():
    metadata = MetaData(schema="shop")

    assert [table.schema for table in declare(metadata).values()] == [None, None, None]
    assert sorted(metadata.tables) == NAMES


def test_another_database_is_refused_by_name():
    with pytest.raises(ValueError, match="oracle"):
        ddl("oracle")
