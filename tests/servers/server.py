"""A throw-away server: its own process group, port and folder, gone when the tests are."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own

from tests.servers.ports import free_port
from tests.servers.programs import Account

START_SECONDS = 90.0
STOP_SECONDS = 30.0
ASK_AGAIN_SECONDS = 0.02
LOG_LINES_SHOWN = 30

_PR_SET_PDEATHSIG = 1
# Loaded here, because between fork and exec nothing may be loaded any more.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Server(ABC):
    """A server on a free port of 127.0.0.1 with a folder of its own; use it as a context manager.

    Start it from the main thread: the kernel kills the process when the thread that started it ends.
    """

    name: ClassVar[str]
    default_port: ClassVar[int]
    # What asks the server to stop without waiting for its clients.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, account: Account | None = None) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.account = account or Account()
        # Not pytest's own folder: only the user that runs the tests may enter that.
        self.folder = Path(tempfile.mkdtemp(prefix=f"aftercommit-{self.name.lower()}-"))
        self.account.own(self.folder)
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; it must stay in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server speaks its protocol by now."""

    def prepare(self) -> None:
        """Lay out the data folder, once, before the first start."""
        return  # Most servers do that themselves when they start.

    def environment(self) -> dict[str, str]:
        """What the server finds in its environment."""
        return {name: value for name in ("PATH", "LANG", "TZ") if (value := os.environ.get(name))}

    def __enter__(self) -> Self:
        try:
            self.prepare()
            return self.start()
        except BaseException:
            self.discard()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def pid(self) -> int:
        """The process that runs, or ran last."""
        assert self._process is not None, f"{self.name} was never started."
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it on its port and data, and return when it answers."""
        assert not self.running, f"{self.name} runs already."
        process = self._process = self.launch(self.command())
        self.await_answer(process, self.answers)
        return self

    def stop(self) -> None:
        """Ask it to stop and wait until it has; its clients are cut off. Nothing happens if it does not run."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not stop in {STOP_SECONDS} s:\n{self.log_tail()}") from None

    def kill9(self) -> None:
        """Kill it and everything it started, as a power cut would. Nothing happens if it does not run."""
        if self._process is not None:
            kill_tree(self._process)

    def restart(self) -> Self:
        """Stop it if it runs, and start it again on the same port and data."""
        self.stop()
        return self.start()

    def discard(self) -> None:
        """Kill it and remove its folder."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a program that belongs to this server and dies with the tests."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - it makes one call of the kernel and takes no lock
                **self.account.popen_options,
            )

    def run(self, command: list[str]) -> None:
        """Run a program that ends by itself, as the server's user; what it says goes to the log."""
        code = self.launch(command).wait(START_SECONDS)
        assert code == 0, f"{command[0]} ended with {code}:\n{self.log_tail()}"

    def await_answer(self, process: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
        """Return when it answers; fail when the process ended or took too long."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if answers():
                return
            try:
                # The pause between two questions, which ends early if the process does.
                code = process.wait(ASK_AGAIN_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"{self.name} ended with {code} instead of starting:\n{self.log_tail()}")
        raise AssertionError(f"{self.name} did not answer within {START_SECONDS} s:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of what it said."""
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(said.splitlines()[-LOG_LINES_SHOWN:]) or "(it said nothing)"


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its descendants, also those in sessions of their own, and wait until all are gone."""
    if process.poll() is not None:
        return
    # Held still first, or it could start another child while the children are counted.
    process.send_signal(signal.SIGSTOP)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(STOP_SECONDS)
    await_ends(children)


def await_ends(children: list[psutil.Process]) -> None:
    """Wait until they have ended. Who adopted them may take a second to bury them; that is not waited for."""
    until = time.monotonic() + STOP_SECONDS
    for child in children:
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, f"Killed, but still there after {STOP_SECONDS} s: {child}"
            with suppress(psutil.TimeoutExpired):
                child.wait(ASK_AGAIN_SECONDS)


def _die_with_the_tests() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
