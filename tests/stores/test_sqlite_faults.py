"""What goes wrong below: a full disk, errors of reading and writing, cancelled callers. Nothing is ever guessed."""

import asyncio
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from msgspec.structs import replace

from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.stores.sqlite import SqliteStore, connection, reader, writer
from aftercommit.stores.sqlite.rows import put_messages
from tests.builders import T0, make_content, make_prepare, message_id, set_up_world
from tests.conformance.store_case import Play
from tests.conformance.store_suite_dispatch import Script, sends
from tests.stores.conftest import make_store


class Faults:
    """Makes statements of the writing connection fail. `fail` says how; each fault strikes once."""

    def __init__(self) -> None:
        self.opened = 0
        self._waiting: list[tuple[str, int, bool]] = []

    def fail(self, statement: str, code: int, *, afterwards: bool = False) -> None:
        """The next statement that begins so fails; `afterwards`: it is done, but says that it failed."""
        self._waiting.append((statement, code, afterwards))

    def strike(self, statement: str, *, afterwards: bool) -> None:
        """Raise if a fault waits for this statement."""
        for each in self._waiting:
            beginning, code, after = each
            if statement.startswith(beginning) and after is afterwards:
                self._waiting.remove(each)
                error = sqlite3.OperationalError("made up by the test")
                error.sqlite_errorcode = code
                raise error


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Faults in every writing connection opened from now on."""
    made = Faults()

    class Faulty(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            made.strike(statement.lstrip(), afterwards=False)
            cursor = super().execute(statement, *values)  # type: ignore[arg-type]
            made.strike(statement.lstrip(), afterwards=True)
            return cursor

    def connect(path: Path) -> sqlite3.Connection:
        made.opened += 1
        connect_with: Callable[..., sqlite3.Connection] = sqlite3.connect
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda *args, **named: connect_with(*args, factory=Faulty, **named))
            return connection.connect_writer(path)

    monkeypatch.setattr(writer, "connect_writer", connect)
    return made


@pytest.fixture
async def faulty(faults: Faults, store: SqliteStore) -> Play:
    """A store whose statements can be made to fail."""
    return Play(store, await set_up_world(store))


CODES = [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("statement", ["BEGIN", "SELECT", "INSERT INTO message", "INSERT INTO content", "COMMIT"])
async def test_after_an_error_nothing_is_written_and_the_next_try_succeeds(
    faulty: Play, faults: Faults, statement: str, code: int
) -> None:
    # given
    faults.fail(statement, code)
    opened = faults.opened

    # when
    with pytest.raises(StoreUnavailable, match="made up by the test"):
        await faulty.do(faulty.say().prepare())

    # then
    assert await faulty.store.get(message_id(1)) is None
    assert (await faulty.one(faulty.say().prepare())).created
    assert faults.opened == opened + 1


async def test_a_commit_that_failed_after_it_was_made_is_not_acknowledged_and_may_be_repeated(
    faulty: Play, faults: Faults
) -> None:
    faults.fail("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, afterwards=True)

    with pytest.raises(StoreUnavailable):
        await faulty.do(faulty.say().prepare())

    again = await faulty.one(faulty.say().prepare())
    assert (again.refusal, again.created, again.status) == (None, False, "pending_confirmation")


async def test_a_rollback_that_fails_does_not_keep_the_store_down(faulty: Play, faults: Faults) -> None:
    faults.fail("INSERT INTO content", sqlite3.SQLITE_FULL)
    faults.fail("ROLLBACK", sqlite3.SQLITE_IOERR)

    with pytest.raises(StoreUnavailable):
        await faulty.do(faulty.say().prepare())

    assert (await faulty.one(faulty.say().prepare())).created


async def test_a_mistake_of_ours_is_loud_and_changes_nothing(faulty: Play, faults: Faults) -> None:
    faults.fail("INSERT INTO content", sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)

    with pytest.raises(Inconsistency):
        await faulty.do(faulty.say().prepare())

    assert await faulty.store.get(message_id(1)) is None
    assert (await faulty.one(faulty.say().prepare())).created


async def test_an_edit_that_is_not_written_is_not_the_present_catalogue(faulty: Play, faults: Faults) -> None:
    before = faulty.store.catalog
    faults.fail("COMMIT", sqlite3.SQLITE_FULL)

    with pytest.raises(StoreUnavailable):
        await faulty.change_world({"billing": "billing"})

    assert faulty.store.catalog is before


async def test_a_ping_fails_while_nothing_can_be_written(faulty: Play, faults: Faults) -> None:
    faults.fail("COMMIT", sqlite3.SQLITE_FULL)

    with pytest.raises(StoreUnavailable):
        await faulty.store.ping()

    await faulty.store.ping()


async def test_a_full_database_takes_nothing_and_recovers_by_itself(play: Play, path: Path) -> None:
    # given a database that may not grow
    store = play.store
    assert isinstance(store, SqliteStore)
    await play.do(play.say(1).prepare())

    def limit(to: sqlite3.Connection) -> None:
        [pages] = to.execute("PRAGMA page_count").fetchone()
        to.execute(f"PRAGMA max_page_count = {pages}")

    await store._writer._visit(lambda: limit(store._writer._connected()))

    # when
    big = make_content(b"x" * 100_000)
    with pytest.raises(StoreUnavailable, match="full"):
        await play.do(make_prepare(play.world, 2, content=big))

    # then the connection is a new one, without the limit
    assert await store.get(message_id(2)) is None
    assert (await play.state(1)).status == "pending_confirmation"
    assert (await play.one(make_prepare(play.world, 2, content=big))).created


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_full_disk_takes_nothing_and_service_goes_on_when_there_is_room(small_disk: Path) -> None:
    # given
    store = make_store(small_disk / "messages.db")
    await store.open(T0)
    play = Play(store, await set_up_world(store))
    acknowledged: list[str] = []

    async def fill() -> None:
        while True:
            number = len(acknowledged) + 1
            await play.do(make_prepare(play.world, number, content=make_content(b"x" * 10_000)))
            acknowledged.append(message_id(number))

    # when
    with pytest.raises(StoreUnavailable):
        await fill()
    with pytest.raises(StoreUnavailable):
        await play.do(make_prepare(play.world, 5000, content=make_content(b"x" * 1_000_000)))
    assert set(await store.find(acknowledged)) == set(acknowledged)
    make_room(small_disk)

    # then
    await store.ping()
    assert (await play.one(make_prepare(play.world, 5000, content=make_content(b"x" * 1_000_000)))).created
    assert set(await store.find(acknowledged)) == set(acknowledged)
    await store.close()


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)


async def test_a_cancelled_write_takes_place_whole_and_disturbs_nobody(play: Play) -> None:
    # given a writer that is busy
    store = play.store
    assert isinstance(store, SqliteStore)
    may_go_on = Event()
    busy = asyncio.create_task(store._writer._visit(may_go_on.wait))
    cancelled = asyncio.create_task(play.do(play.say(1).prepare(), play.say(1).confirm()))
    after = asyncio.create_task(play.do(play.say(2).prepare()))
    await asyncio.sleep(0)

    # when
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    may_go_on.set()
    await busy

    # then
    assert [each.created for each in await after] == [True]
    assert (await play.state(1)).status == "pending_send"


async def test_a_dispatch_cancelled_while_it_takes_holds_nothing(play: Play) -> None:
    # given
    store = play.store
    assert isinstance(store, SqliteStore)
    await play.do(play.say().prepare(confirmed=True))
    may_go_on = Event()
    busy = asyncio.create_task(store._writer._visit(may_go_on.wait))
    taking = asyncio.create_task(store.dispatch(sends(play), Script(), play.now))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    # when
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    may_go_on.set()
    await busy

    # then
    assert (await store.dispatch(sends(play), Script(), play.now)).accepted == 1


async def test_a_dispatch_whose_write_fails_leaves_the_work_due(faulty: Play, faults: Faults) -> None:
    await faulty.do(faulty.say().prepare(confirmed=True))
    before, script = await faulty.state(), Script()

    async def publish(batch):
        faults.fail("COMMIT", sqlite3.SQLITE_FULL)
        return await script(batch)

    with pytest.raises(StoreUnavailable):
        await faulty.store.dispatch(sends(faulty), publish, faulty.now)

    assert await faulty.state() == before
    assert (await faulty.store.dispatch(sends(faulty), script, faulty.now)).accepted == 1
    assert script.published == [[1], [1]]


async def test_a_row_changed_behind_our_back_is_not_overwritten(play: Play) -> None:
    store = play.store
    assert isinstance(store, SqliteStore)
    await play.do(play.say().prepare())
    before = await play.state()

    def overwrite() -> None:
        seventh = replace(before, version=7)
        put_messages(store._writer._connected(), {before.id: seventh}, {before.id: seventh})

    with pytest.raises(Inconsistency, match="1 of 1 messages"):
        await store._writer._visit(overwrite)

    assert await play.state() == before


async def test_reading_fails_and_recovers_too(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    await play.do(play.say().prepare())

    def broken(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("made up by the test")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(reader, "find", broken)
        with pytest.raises(StoreUnavailable):
            await play.state()

    assert (await play.state()).status == "pending_confirmation"
