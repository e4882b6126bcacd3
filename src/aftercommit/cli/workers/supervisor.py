"""The parent of several workers: binds the socket, starts them, starts those that die again, stops them all."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import structlog

from aftercommit.api.server import bind
from aftercommit.cli.workers.handover import STOP_SECONDS, Handover, Ready, Refused, Report, line_of
from aftercommit.clocks import SystemClock
from aftercommit.domain.errors import ConfigurationError
from aftercommit.domain.policies import MS, jittered
from aftercommit.ports.clock import Clock
from aftercommit.settings import Settings
from aftercommit.telemetry.log import configure_log

# `-P` and the parent's own path: a worker imports what the parent does, not what lies in the current folder.
WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "aftercommit.cli.workers.process")

_log = structlog.stdlib.get_logger("aftercommit.workers")


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long, in seconds, a worker that died is not started again, and one that was asked to stop may go on.

    The pause doubles from `first` to `longest` with each death in a row; a worker that lived for `healthy` begins anew.
    """

    first: float = 0.5
    longest: float = 30.0
    healthy: float = 60.0
    stop: float = STOP_SECONDS


def run_workers(settings: Settings, announce: Callable[[str], object], command: Sequence[str] = WORKER_COMMAND) -> None:
    """Run `settings.workers` processes until SIGTERM or SIGINT. `announce` gets the line that says where they listen.

    Raises `ConfigurationError` with what to do, if the port is taken or a worker cannot run with these settings.
    """
    configure_log(settings.log_level, settings.log_format)
    listener = bind(settings.host, settings.port)
    supervisor = Supervisor(
        settings,
        listener,
        announce=announce,
        clock=SystemClock(),
        chance=random.Random().random,
        patience=Patience(),
        command=command,
    )
    asyncio.run(supervisor.run())


class Supervisor:
    """Keeps `settings.workers` processes running on one listening socket. `run` once."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        announce: Callable[[str], object],
        clock: Clock,
        chance: Callable[[], float],
        patience: Patience,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        """`listener`: closed when the stop begins. `chance`: from 0 to 1, for jitter. `command`: the worker's program,
        which gets the numbers of two inherited sockets: the channel, and the listener.
        """
        self._settings = settings
        self._listener = listener
        self._announce = announce
        self._clock = clock
        self._chance = chance
        self._patience = patience
        self._command = tuple(command)
        self._stopping = asyncio.Event()
        self._never_ready = set(range(1, settings.workers + 1))
        self._refusal: str | None = None
        # A thread each: all must be waited for at the same time.
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="worker-end")

    async def run(self) -> None:
        """Keep the workers running until SIGTERM or SIGINT, then stop them.

        A worker that dies is started again after a pause. Raises `ConfigurationError` if one refuses the settings
        before all were ready; later, when others serve, it is tried again like one that died.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in sorted(self._never_ready):
                    tasks.create_task(self._keep(number), name=f"worker-{number}")
        finally:
            self.stop()
            self._threads.shutdown(wait=False)
        if self._refusal is not None:
            raise ConfigurationError(self._refusal)

    def stop(self) -> None:
        """Stop the workers, so that `run` returns. May be called twice."""
        self._stopping.set()
        # The workers have it too, and close theirs when they have stopped: from then on nobody can connect.
        self._listener.close()

    async def _keep(self, number: int) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began_at = self._clock.monotonic()
            refusal, how = await self._live(number)
            if self._stopping.is_set():
                return
            if refusal and self._never_ready:
                self._refusal = refusal
                self.stop()
                return
            deaths = 1 if self._clock.monotonic() - began_at >= self._patience.healthy else deaths + 1
            pause = pause_seconds(self._patience, deaths, self._chance())
            _log.error("worker_ended", worker=number, how=refusal or how, again_in_seconds=round(pause, 1))
            await self._clock.wait(self._stopping, pause)

    async def _live(self, number: int) -> tuple[str | None, str]:
        """One worker from start to end: the sentence it refused with, and how it ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = self._start(theirs)
        except OSError as error:
            # No more processes or memory, or a program that is just being replaced: that may pass.
            ours.close()
            return None, f"not started: {error.strerror}"
        reader, writer = await asyncio.open_connection(sock=ours)
        hearing = asyncio.create_task(self._hear(number, reader))
        told = asyncio.create_task(self._stopping.wait())
        try:
            writer.write(line_of(Handover(number=number, settings=self._settings)))
            # The channel ends when the process does.
            await asyncio.wait({hearing, told}, return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done() or hearing.exception():
                process.terminate()
            code = await asyncio.get_running_loop().run_in_executor(self._threads, self._end, number, process)
            return await hearing, _how(code)
        finally:
            told.cancel()
            writer.close()

    def _start(self, channel: socket.socket) -> "subprocess.Popen[bytes]":
        inherited = (channel.fileno(), self._listener.fileno())
        # Ctrl-C reaches every process of a terminal; it is for the parent, which stops the workers. They are born with
        # it held back, because a new process could not answer it with anything but a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(each or os.curdir for each in sys.path)},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    async def _hear(self, number: int, reader: asyncio.StreamReader) -> str | None:
        """Listen to a worker until its end; the sentence it refused with."""
        while line := await _whole_line(reader):
            match msgspec.json.decode(line, type=Report):
                case Ready(announcement):
                    self._welcome(number, announcement)
                case Refused(sentence):
                    return sentence
        return None

    def _welcome(self, number: int, announcement: str) -> None:
        _log.info("worker_ready", worker=number)
        if number in self._never_ready:
            self._never_ready.remove(number)
            if not self._never_ready:
                self._announce(announcement)

    def _end(self, number: int, process: "subprocess.Popen[bytes]") -> int:
        try:
            return process.wait(self._patience.stop)
        except subprocess.TimeoutExpired:
            _log.warning("worker_killed", worker=number, after_seconds=self._patience.stop)
            process.kill()
            return process.wait()


def pause_seconds(patience: Patience, deaths: int, chance: float) -> float:
    """How long to wait before a worker that died `deaths` times in a row is started again."""
    seconds = patience.first * 2 ** min(deaths - 1, 32)
    return jittered(min(seconds, patience.longest), chance) / MS


async def _whole_line(reader: asyncio.StreamReader) -> bytes:
    """The next line; nothing if the channel ends, also where a worker was killed while it wrote or before it read."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return b""
    return line if line.endswith(b"\n") else b""


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
