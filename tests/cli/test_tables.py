"""`aftercommit tables`."""

import sqlite3
from contextlib import closing

import pytest

from aftercommit.cli.exit_codes import ExitCode


def test_what_is_printed_can_be_run_as_it_is(command_line):
    output = command_line.run("tables", "--dialect", "sqlite").output

    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(output)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in names} == {"aftercommit_outcome", "aftercommit_inbox", "aftercommit_outbox"}


def test_only_what_is_asked_for_is_printed(command_line):
    output = command_line.run("tables", "--dialect", "mariadb", "--only", "inbox", "--only", "outbox").output

    assert output.count("CREATE TABLE") == 2
    assert "aftercommit_outcome" not in output
    assert output.count("ENGINE=InnoDB;") == 2


@pytest.mark.parametrize("arguments", [(), ("--dialect", "oracle"), ("--dialect", "sqlite", "--only", "orders")])
def test_anything_else_is_a_usage_error(command_line, arguments):
    assert command_line.run("tables", *arguments).exit_code == ExitCode.USAGE
