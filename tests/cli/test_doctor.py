"""`aftercommit doctor`."""

import json

import pytest

from aftercommit.cli.doctor import NOT_REACHED
from aftercommit.cli.exit_codes import ExitCode
from aftercommit.doctor import sqlite
from aftercommit.stores.sqlite import run_migrations


@pytest.fixture
def address(tmp_path, monkeypatch):
    # What the tests' own folder is on is not what they are about.
    (tmp_path / "mounts").write_text(f"none {tmp_path} ext4 rw 0 0\n", "utf-8")
    monkeypatch.setattr(sqlite, "MOUNTS", tmp_path / "mounts")
    run_migrations(tmp_path / "messages.db")
    return f"sqlite:///{tmp_path / 'messages.db'}"


def test_a_healthy_installation_exits_with_0(command_line, address):
    result = command_line.run("doctor", "--database", address)

    assert result.exit_code == ExitCode.OK
    assert "sqlite.integrity" in result.output
    assert "memory.broker" in result.output


def test_an_error_exits_with_1_and_says_what_to_do(command_line, address, tmp_path):
    path = tmp_path / "messages.db"
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 4096 * 2
    path.write_bytes(content)

    result = command_line.run("doctor", "--database", address)

    assert result.exit_code == ExitCode.FAILURE
    assert "restore a backup" in result.output


def test_what_cannot_be_reached_exits_with_2(command_line, address, tmp_path):
    (tmp_path / "messages.db").write_bytes(b"Dear diary, " * 100)

    assert command_line.run("doctor", "--database", address).exit_code == NOT_REACHED


def test_json_has_a_stable_name_for_every_finding(command_line, address):
    document = json.loads(command_line.run("doctor", "--database", address, "--json").output)

    assert document["reached"] is True
    names = [each["check"] for each in document["findings"]]
    assert len(names) == len(set(names))
    assert {"sqlite.version", "sqlite.file", "sqlite.file_system", "sqlite.schema", "memory.broker"} <= set(names)


def test_wrong_settings_are_one_sentence(command_line):
    result = command_line.run("doctor", "--broker", "carrier-pigeon://")

    assert result.exit_code == ExitCode.FAILURE
    assert "carrier-pigeon" in result.output


def test_a_broker_that_cannot_be_reached_exits_with_2_and_the_database_is_told_all_the_same(command_line, address):
    result = command_line.run("doctor", "--database", address, "--broker", "nats://127.0.0.1:1")

    assert result.exit_code == NOT_REACHED
    assert "nats.connection" in result.output
    assert "sqlite.integrity" in result.output
