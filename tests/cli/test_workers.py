"""Several workers: started, started again, refused, stopped, and never left behind."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from aftercommit.cli.workers.supervisor import Patience, pause_seconds
from aftercommit.domain.errors import ConfigurationError
from tests.cli.lives import DATABASE, WITHIN_SECONDS, Lives, parent, soon, supervised


async def test_a_worker_that_refuses_the_settings_ends_it_all():
    async with supervised(2) as made:
        _, one = await made.lives.next()
        _, two = await made.lives.next()
        await one.served()

        two.order("refuse")

        with pytest.raises(ConfigurationError, match=r"^The moon is wrong\. Choose another one\.$"):
            await soon(made.running)
        await one.end()
        assert made.announced.empty()
        assert not made.lives.waiting


async def test_a_worker_that_refuses_what_all_had_accepted_is_tried_again():
    async with supervised(2) as made:
        lives = [await made.lives.next() for _ in range(2)]
        for _, life in lives:
            await life.served()
        await soon(made.announced.get())
        os.kill(lives[0][0], signal.SIGKILL)
        made.clock.advance(await soon(made.clock.pauses.get()))
        _, again = await made.lives.next()

        again.order("refuse")

        made.clock.advance(await soon(made.clock.pauses.get()))
        _, again = await made.lives.next()
        await again.served()
        assert not made.running.done()


@pytest.mark.parametrize("death", ["die", "die unheard", "die in half a sentence"])
async def test_a_worker_that_dies_before_it_is_ready_is_started_again(death: str):
    async with supervised(1) as made:
        _, life = await made.lives.next()

        life.order(death)

        made.clock.advance(await soon(made.clock.pauses.get()))
        _, life = await made.lives.next()
        await life.served()
        await soon(made.announced.get())


async def test_a_program_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    async with supervised(1) as made:
        missing = OSError(12, "Cannot allocate memory")
        with monkeypatch.context() as patched:
            patched.setattr("subprocess.Popen.__init__", lambda *_, **__: (_ for _ in ()).throw(missing))
            patched.setattr("subprocess.Popen.__del__", lambda _: None)
            pause = await soon(made.clock.pauses.get())

        made.clock.advance(pause)

        _, life = await made.lives.next()
        await life.served()


async def test_a_worker_that_is_killed_is_started_again_while_the_other_serves():
    async with supervised(2) as made:
        lives = {}
        for _ in range(2):
            pid, life = await made.lives.next()
            lives[(await life.served())["number"]] = pid, life
        await soon(made.announced.get())

        os.kill(lives[2][0], signal.SIGKILL)

        pause = await soon(made.clock.pauses.get())
        assert await made.ask() == 1
        made.clock.advance(pause)
        pid, life = await made.lives.next()
        assert (await life.served())["number"] == 2
        assert pid != lives[2][0]
        assert made.announced.empty(), "Where it listens is said once."


async def test_the_pause_doubles_until_a_worker_lived_for_a_minute():
    async with supervised(1) as made:
        pauses = []
        for _ in range(8):
            _, life = await made.lives.next()
            life.order("die")
            pauses.append(await soon(made.clock.pauses.get()))
            made.clock.advance(pauses[-1])
        assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]

        _, life = await made.lives.next()
        made.clock.advance(60)
        life.order("die")
        assert await soon(made.clock.pauses.get()) == 0.5


def test_the_pause_is_jittered_and_never_shorter():
    pauses = [pause_seconds(Patience(), 3, chance) for chance in (0.0, 0.5, 1.0)]
    assert pauses == sorted(set(pauses))
    assert pauses[0] == 2.0


async def test_where_they_listen_is_announced_when_all_are_ready():
    async with supervised(2) as made:
        (_, one), (_, two) = await made.lives.next(), await made.lives.next()
        assert (await one.served())["database"] == DATABASE
        # The first is heard before this connection is answered, and the supervisor reads in the same loop.
        await made.ask()
        assert made.announced.empty()

        await two.served()

        assert await soon(made.announced.get()) == f"Listening on port {made.port}."


async def test_a_stop_waits_for_what_runs_and_then_nobody_listens():
    async with supervised(1) as made:
        _, life = await made.lives.next()
        life.order("linger")
        await life.heard()

        made.supervisor.stop()

        assert await life.heard() == {"asked_to_stop": True}
        assert not made.running.done()
        life.order("end")
        await soon(made.running)
        assert not made.is_open()


async def test_a_worker_that_does_not_stop_in_its_time_is_killed():
    async with supervised(2, stop_seconds=0.1) as made:
        lives = [await made.lives.next() for _ in range(2)]
        for _, life in lives:
            life.order("linger")
            await life.heard()

        await made.stopped()

        for _, life in lives:
            assert await life.heard() == {"asked_to_stop": True}
            await life.end()


async def test_a_stop_during_a_pause_starts_nobody():
    async with supervised(1) as made:
        _, life = await made.lives.next()
        life.order("die")
        await soon(made.clock.pauses.get())

        await made.stopped()

        assert not made.lives.waiting


@pytest.mark.skipif(sys.platform != "linux", reason="Where command lines are read differs.")
async def test_a_password_stands_in_no_command_line():
    async with supervised(1) as made:
        pid, life = await made.lives.next()
        assert "swordfish" in (await life.served())["database"]
        command_line = await asyncio.to_thread(Path(f"/proc/{pid}/cmdline").read_bytes)
        assert b"fake_worker.py" in command_line
        assert b"swordfish" not in command_line


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_ctrl_c_is_a_graceful_stop(again: bool):
    async with Lives().listening() as lives, parent(2, DATABASE, *lives.command) as running:
        made = [(await lives.next())[1] for _ in range(2)]
        for life in made:
            life.order("linger")
            await life.heard()
        await running.line()

        running.press_ctrl_c()

        for life in made:
            assert await life.heard() == {"asked_to_stop": True}
        if again:
            running.press_ctrl_c()
        for life in made:
            life.order("end")
        code, out, err = await running.end()
        assert (code, out) == (0, "")
        assert "Traceback" not in err
        assert "worker_ended" not in err


async def test_sigterm_is_a_graceful_stop_of_real_nodes_on_a_free_port(tmp_path: Path):
    async with parent(1, f"sqlite:///{tmp_path}/node.db") as running:
        line = await running.line()
        assert re.search(r"listens on http://127\.0\.0\.1:[1-9]\d+ ", line)

        running.signal(signal.SIGTERM)

        code, out, err = await running.end()
        assert (code, out) == (0, "")
        assert "Traceback" not in err


async def test_a_real_node_that_refuses_is_one_sentence_on_stderr(tmp_path: Path):
    """SQLite is for one process: the second worker is refused."""
    async with parent(2, f"sqlite:///{tmp_path}/node.db") as running:
        code, out, err = await running.end()
        assert (code, out) == (1, "")
        assert [line for line in err.splitlines() if "worker_ready" not in line] == [err.splitlines()[-1]]
        assert re.match(r"Error: The database .*node\.db is in use", err.splitlines()[-1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_what_runs_is_finished_when_the_parent_ends(tmp_path: Path, number: signal.Signals):
    """A parent that is killed cannot ask for it; its workers notice."""
    body = b'{"topic": "orders.created", "payload": 1}'
    async with parent(1, f"sqlite:///{tmp_path}/node.db") as running:
        port = int((await running.line()).split("127.0.0.1:")[1].split()[0])
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", port))
        head = (
            "POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nx-aftercommit-app: shop"
            f"\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        assert b" 100 " in await soon(reader.readline())

        running.signal(number)
        await until_refused(port)
        writer.write(body)

        assert b" 201 " in await soon(reader.read())
        writer.close()
        code, _, err = await running.end()
        assert code == (0 if number is signal.SIGTERM else -number)
        assert "Traceback" not in err


async def until_refused(port: int) -> None:
    """Wait until nobody listens any more: the worker is stopping, and has a request that runs."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                # Refused; or reset, if it waited to be accepted when the last who listened closed.
                return
            writer.close()
