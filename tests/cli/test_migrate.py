"""`aftercommit migrate`."""

import json
import sqlite3
from contextlib import closing

import pytest

from aftercommit.cli.exit_codes import ExitCode
from aftercommit.stores.sql.migrate import known_migrations
from aftercommit.stores.sqlite import missing_migrations, run_migrations
from aftercommit.stores.sqlite.migrate import known_migrations as known_sqlite_migrations

SQLITE_NAMES = [each.name for each in known_sqlite_migrations()]
SQL_NAMES = [each.name for each in known_migrations()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "messages.db"


@pytest.fixture(params=["postgres", "mariadb"])
def url(request):
    with request.getfixturevalue(request.param).database() as fresh:
        yield fresh.url()


def test_it_migrates_a_file_and_then_has_nothing_to_do(command_line, path):
    first = command_line.run("migrate", "--database", f"sqlite:///{path}")
    second = command_line.run("migrate", "--database", f"sqlite:///{path}")

    assert first.output.splitlines() == SQLITE_NAMES
    assert second.output == "The schema is up to date.\n"
    assert missing_migrations(path) == []


@pytest.mark.parametrize("how", ["status", "--status"])
def test_the_status_changes_nothing(command_line, path, how):
    result = command_line.run("migrate", how, "--database", f"sqlite:///{path}", "--json")

    assert json.loads(result.output) == {"missing": SQLITE_NAMES}
    assert not path.exists()


def test_the_script_for_a_file_does_what_migrating_does(command_line, path, tmp_path):
    result = command_line.run("migrate", "--sql", "--database", f"sqlite:///{path}")
    assert not path.exists()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(result.output)

    run_migrations(tmp_path / "other.db")

    assert missing_migrations(path) == []
    told = []
    for each in (path, tmp_path / "other.db"):
        with closing(sqlite3.connect(each)) as connection:
            told.append(connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall())
    assert told[0] == told[1]


def test_no_script_is_a_comment(command_line, path):
    run_migrations(path)

    assert command_line.run("migrate", "--sql", "--database", f"sqlite:///{path}").output.startswith("-- ")


def test_status_and_script_together_are_a_usage_error(command_line, path):
    result = command_line.run("migrate", "status", "--sql", "--database", f"sqlite:///{path}")

    assert result.exit_code == ExitCode.USAGE


def test_a_server_is_asked_migrated_and_asked_again(command_line, url):
    before = command_line.run("migrate", "status", "--database", url)
    script = command_line.run("migrate", "--sql", "--json", "--database", url)
    applied = command_line.run("migrate", "--database", url, "--json")
    after = command_line.run("migrate", "status", "--database", url, "--json")

    assert before.output.splitlines() == SQL_NAMES
    assert "CREATE TABLE message" in json.loads(script.output)["sql"]
    assert json.loads(applied.output) == {"applied": SQL_NAMES}
    assert json.loads(after.output) == {"missing": []}


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_that_is_not_there_is_one_sentence_without_the_password(command_line, scheme):
    result = command_line.run("migrate", "--database", f"{scheme}://anna:hidden@127.0.0.1:1/shop")

    assert result.exit_code == ExitCode.FAILURE
    assert result.output.startswith(f"Error: The database {scheme}://anna@127.0.0.1:1/shop could not be migrated")
    assert result.output.count("\n") == 1
    assert "hidden" not in result.output
