"""The lives of fake workers as a test sees them, supervisors in the test's own process, and parents as programs."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from aftercommit.api.server import bind
from aftercommit.cli.workers.supervisor import Patience, Supervisor
from aftercommit.settings import Settings
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.node_process import plain_environment

T = TypeVar("T")
WITHIN_SECONDS = 30.0
FOLDER = Path(__file__).parent
DATABASE = "postgresql://orders:swordfish@db/orders"


async def soon(coming: Awaitable[T]) -> T:
    """What comes, within the patience of a test."""
    async with asyncio.timeout(WITHIN_SECONDS):
        return await coming


class Life:
    """One fake worker, from its first word to its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def heard(self) -> dict[str, Any]:
        """What it says next."""
        said: dict[str, Any] = json.loads(await soon(self._reader.readline()))
        return said

    def order(self, order: str) -> None:
        """Tell it what to do."""
        self._writer.write(order.encode() + b"\n")

    async def served(self) -> dict[str, Any]:
        """Let it serve; what it was handed."""
        self.order("serve")
        return await self.heard()

    async def end(self) -> None:
        """Wait until its process is gone."""
        assert await soon(self._closed()) == b""

    async def close(self) -> None:
        """Listen no more."""
        self._writer.close()
        await self._closed()

    async def _closed(self) -> bytes:
        try:
            return await self._reader.read()
        except ConnectionResetError:
            return b""


class Lives:
    """Where fake workers report; `command` starts one."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Life] = asyncio.Queue()
        self._all: list[Life] = []
        self._port = 0

    @property
    def command(self) -> list[str]:
        """The command line of a fake worker, without the sockets it inherits."""
        return [sys.executable, str(FOLDER / "fake_worker.py"), str(self._port)]

    async def next(self) -> tuple[int, Life]:
        """The next worker that started and waits for its order, and its process."""
        life = await soon(self._came.get())
        return (await life.heard())["pid"], life

    @property
    def waiting(self) -> bool:
        """Whether one started that nobody looked at."""
        return not self._came.empty()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Lives"]:
        """Be there for workers."""
        server = await asyncio.start_server(self._come, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for life in self._all:
                await life.close()

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all.append(Life(reader, writer))
        self._came.put_nowait(self._all[-1])


class Watched(ManualClock):
    """A clock that tells the test of every pause that begins."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: asyncio.Queue[float] = asyncio.Queue()

    async def wait(self, event: asyncio.Event, timeout_seconds: float) -> bool:
        """Wait as the clock does."""
        self.pauses.put_nowait(timeout_seconds)
        return await super().wait(event, timeout_seconds)


class Supervised:
    """A supervisor in this process, with the listener it shares, what it announced, and a clock that stands still."""

    def __init__(self, lives: Lives, workers: int, stop_seconds: float) -> None:
        self.lives = lives
        self.clock = Watched()
        self.announced: asyncio.Queue[str] = asyncio.Queue()
        listener = bind("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.supervisor = Supervisor(
            Settings(workers=workers, database=DATABASE),
            listener,
            announce=self.announced.put_nowait,
            clock=self.clock,
            chance=lambda: 0.0,
            patience=Patience(stop=stop_seconds),
            command=lives.command,
        )
        self.running = asyncio.create_task(self.supervisor.run())

    async def stopped(self) -> None:
        """Stop it, and wait until it has."""
        self.supervisor.stop()
        await soon(self.running)

    async def ask(self) -> int:
        """The number of the worker that answers the next connection."""
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", self.port))
        number = int(await soon(reader.read()))
        writer.close()
        return number

    def is_open(self) -> bool:
        """Whether anybody listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@asynccontextmanager
async def supervised(workers: int, *, stop_seconds: float = WITHIN_SECONDS) -> AsyncIterator[Supervised]:
    """A supervisor of fake workers, stopped in the end."""
    async with Lives().listening() as lives:
        made = Supervised(lives, workers, stop_seconds)
        try:
            yield made
        finally:
            if not made.running.done():
                await made.stopped()


class Parent:
    """A parent as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """The next line on stdout."""
        assert self._process.stdout
        return (await soon(self._process.stdout.readline())).decode()

    def signal(self, number: signal.Signals) -> None:
        """Send it to the parent alone."""
        self._process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """Send SIGINT to it and all it started, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    async def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it said on stdout and stderr, when it and all that share them are gone."""
        out, err = await soon(self._process.communicate())
        assert self._process.returncode is not None
        return self._process.returncode, out.decode(), err.decode()

    def kill(self) -> None:
        """Leave nothing running."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)


@asynccontextmanager
async def parent(workers: int, database: str, *command: str) -> AsyncIterator[Parent]:
    """A parent that runs; with the command of fake workers, or of real ones."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(FOLDER / "parent_program.py"), str(workers), database, *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=plain_environment(),
        start_new_session=True,
    )
    made = Parent(process)
    try:
        yield made
    finally:
        made.kill()
        await process.wait()
