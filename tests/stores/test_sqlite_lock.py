"""One process per file."""

import subprocess
import sys
from pathlib import Path

import pytest

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sqlite import SqliteStore, run_migrations
from tests.builders import T0
from tests.stores.conftest import make_store

# Opens the store at argv[1], says so, and waits to be told to go on (or to be killed).
HOLDER = """
import asyncio, sys
from pathlib import Path
from aftercommit.stores.sqlite import SqliteStore

async def hold():
    store = SqliteStore(Path(sys.argv[1]), chance=lambda: 0.0)
    await store.open(0)
    sys.stdout.write("open\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    await store.close()

asyncio.run(hold())
"""


def start_holder(path: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    return holder


async def test_a_second_store_in_the_same_process_is_refused(store: SqliteStore, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="this very process"):
        await make_store(path).open(T0)

    await store.ping()


async def test_a_second_process_is_refused_and_told_who_has_it(path: Path) -> None:
    with start_holder(path) as holder:
        with pytest.raises(ConfigurationError) as refused:
            await make_store(path).open(T0)
        assert f"process {holder.pid}" in str(refused.value)
        assert str(path) in str(refused.value)
        holder.kill()
        holder.communicate()


async def test_a_killed_process_leaves_no_lock(path: Path) -> None:
    with start_holder(path) as holder:
        holder.kill()
        holder.communicate()

    store = make_store(path)
    await store.open(T0)
    await store.close()


async def test_the_lock_is_free_after_a_close_and_after_a_refused_opening(store: SqliteStore, path: Path) -> None:
    again = make_store(path)
    with pytest.raises(ConfigurationError):
        await again.open(T0)
    await store.close()

    await again.open(T0)
    await again.close()


async def test_a_database_in_use_is_not_migrated(store: SqliteStore, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="in use"):
        run_migrations(path)


async def test_a_link_to_the_file_is_the_same_file(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)

    with pytest.raises(ConfigurationError, match="in use"):
        await make_store(link).open(T0)


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="folder"):
        await make_store(tmp_path / "file" / "messages.db").open(T0)


async def test_the_folder_is_made(tmp_path: Path) -> None:
    store = make_store(tmp_path / "new" / "folder" / "messages.db")
    await store.open(T0)
    await store.close()


async def test_the_file_is_its_owners_alone(store: SqliteStore, path: Path) -> None:
    assert {each.stat().st_mode & 0o777 for each in path.parent.glob("messages.db*") if each.suffix != ".lock"} == {
        0o600
    }
