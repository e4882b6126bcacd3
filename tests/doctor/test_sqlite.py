"""What the doctor finds at a SQLite file. Each check is seen to complain."""

import os
import sqlite3
from contextlib import closing

import pytest

from aftercommit.doctor import sqlite
from aftercommit.doctor.finding import Level
from aftercommit.doctor.sqlite import examine_sqlite
from aftercommit.stores.sqlite import run_migrations
from aftercommit.stores.sqlite.lock import FileLock
from tests.doctor.reading import found


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A database as a node leaves it, on what is said to be a disk."""
    monkeypatch.setattr(sqlite, "MOUNTS", tmp_path / "mounts")
    mounted(tmp_path, "ext4")
    run_migrations(tmp_path / "messages.db")
    return tmp_path / "messages.db"


def mounted(folder, kind):
    (folder / "mounts").write_text(f"none / overlay rw 0 0\nnone {folder} {kind} rw 0 0\n", "utf-8")


def test_a_database_as_a_node_leaves_it_is_healthy(path):
    report = examine_sqlite(path)

    assert {each.level for each in report.findings} == {Level.OK}
    assert report.healthy


def test_a_database_that_is_not_there_is_healthy_and_is_not_made(path):
    other = path.with_name("none.db")

    report = examine_sqlite(other)

    assert report.healthy
    assert not other.exists()


def test_a_file_that_is_no_database_cannot_be_reached(path):
    path.write_bytes(b"Dear diary, " * 100)

    report = examine_sqlite(path)

    assert not report.reached
    assert found(report, "connection").level is Level.ERROR


def test_somebody_elses_database_is_refused(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE shop (id INTEGER)")

    assert found(examine_sqlite(path), "schema").level is Level.ERROR


def test_missing_migrations_are_named(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")

    finding = found(examine_sqlite(path), "schema")

    assert finding.level is Level.WARNING
    assert "0001_first" in finding.found


def test_a_damaged_page_is_found(path):
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 4096 * 2
    path.write_bytes(content)

    assert found(examine_sqlite(path), "integrity").level is Level.ERROR


def test_a_large_file_is_not_read_whole(path, monkeypatch):
    monkeypatch.setattr(sqlite, "CHECKED_WHOLE_MAX", 0)

    assert "quick_check" in found(examine_sqlite(path), "integrity").found


def test_another_journal_is_told(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")

    assert found(examine_sqlite(path), "journal").level is Level.WARNING


def test_a_file_that_others_may_read_is_told(path):
    path.chmod(0o644)

    assert found(examine_sqlite(path), "file").level is Level.WARNING


def test_a_file_that_may_not_be_written_is_an_error(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: place != path)

    assert found(examine_sqlite(path), "file").level is Level.ERROR


def test_somebody_elses_file_is_told(path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    assert found(examine_sqlite(path), "file").level is Level.WARNING


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_an_error(path, kind):
    mounted(path.parent, kind)

    assert found(examine_sqlite(path), "file_system").level is Level.ERROR


def test_a_file_in_memory_is_told(path):
    mounted(path.parent, "tmpfs")

    assert found(examine_sqlite(path), "file_system").level is Level.WARNING


def test_a_system_that_does_not_tell_its_mounts_is_told(path):
    sqlite.MOUNTS.unlink()

    assert found(examine_sqlite(path), "file_system").level is Level.WARNING


@pytest.mark.parametrize(("limit", "level"), [("FREE_MIN", Level.ERROR), ("FREE_COMFORTABLE", Level.WARNING)])
def test_a_full_disk_is_told(path, monkeypatch, limit, level):
    monkeypatch.setattr(sqlite, limit, 2**80)

    assert found(examine_sqlite(path), "free_space").level is level


def test_a_running_node_is_no_fault_and_is_not_disturbed(path):
    lock = FileLock(path)
    lock.take()
    try:
        report = examine_sqlite(path)
    finally:
        lock.release()

    assert "serves it" in found(report, "running_node").found
    assert report.healthy
