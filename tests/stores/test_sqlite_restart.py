"""What was acknowledged is there after a kill."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aftercommit.stores.sqlite import SqliteStore
from tests.builders import T0, message_id, set_up_world
from tests.conformance.store_case import Play
from tests.stores.conftest import make_store

# Prepares and confirms message after message in the store at argv[1], telling each one only when it is acknowledged.
WRITER = """
import asyncio, sys
from pathlib import Path
from aftercommit.stores.sqlite import SqliteStore
from tests.builders import T0, set_up_world
from tests.conformance.store_case import Play

async def write(play, first):
    number = first
    while True:
        await play.do(play.say(number).prepare(), play.say(number).confirm())
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 4

async def main():
    store = SqliteStore(Path(sys.argv[1]), chance=lambda: 0.0)
    await store.open(T0)
    play = Play(store, await set_up_world(store))
    await asyncio.gather(*(write(play, first) for first in range(1, 5)))

asyncio.run(main())
"""


@pytest.fixture
def acknowledged(path: Path) -> list[int]:
    """The messages that a process acknowledged before it was killed."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        return told + [int(line) for line in process.stdout.read().split("\n")[:-1]]


async def test_what_was_acknowledged_outlives_a_kill(path: Path, acknowledged: list[int]) -> None:
    store = make_store(path)

    await store.open(T0)

    found = await store.find([message_id(number) for number in acknowledged])
    assert len(found) == len(acknowledged) >= 200
    assert {each.status.value for each in found.values()} == {"pending_send"}
    [tally] = await store.tallies()
    assert tally.count in range(len(acknowledged), len(acknowledged) + 5)
    await store.close()


async def test_a_clean_close_leaves_one_file(store: SqliteStore, path: Path) -> None:
    play = Play(store, await set_up_world(store))
    await play.do(play.say().prepare())

    await store.close()

    assert sorted(each.name for each in path.parent.iterdir()) == ["messages.db", "messages.db.lock"]


async def test_what_was_asked_for_before_a_close_is_written(path: Path) -> None:
    store = make_store(path)
    await store.open(T0)
    play = Play(store, await set_up_world(store))

    writes = [asyncio.create_task(play.one(play.say(number).prepare())) for number in range(1, 20)]
    await asyncio.sleep(0)
    await store.close()

    assert all(each.created for each in await asyncio.gather(*writes))
