"""The demo's processes: started on a leash, killed, restarted, ended by their ids; and the ports kept for them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_STOP_SECONDS: Final = 10.0
_LOG_LINES_SHOWN: Final = 30


class Process:
    """One program of the demo, through all its lives. Its output is appended to `log`."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.kills = 0
        self._arguments = arguments
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def age_seconds(self) -> float:
        """How long this life of it has lasted."""
        return time.monotonic() - self._started_at

    def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl-C. Call from the main thread: the leash is tied to it."""
        leash = [sys.executable, "-m", "aftercommit.cli.demo.leash", str(os.getpid())]
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(  # noqa: S603 - our own modules with our own arguments
                [*leash, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(),
                process_group=0,
            )
        self._started_at = time.monotonic()

    def kill(self) -> int:
        """`kill -9`, and wait until it is dead. Returns the id it had."""
        running = self._require_running()
        running.kill()
        self._bury(running)
        self.kills += 1
        return running.pid

    def ended_by_itself(self) -> int | None:
        """The exit code of a process that nobody ended; None while it runs."""
        return None if self._running is None else self._running.poll()

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not. May be called twice."""
        if self._running is None:
            return
        self._running.terminate()
        try:
            self._running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._running.kill()
        self._bury(self._running)

    def last_words(self) -> str:
        """The end of its log."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:])

    def _require_running(self) -> subprocess.Popen[bytes]:
        if self._running is None:
            raise RuntimeError(f"The {self.name} process is not running.")
        return self._running

    def _bury(self, running: subprocess.Popen[bytes]) -> None:
        running.wait()
        if running.stdin is not None:
            running.stdin.close()
        self._running = None


class Janitor:
    """Outlives the demo by a moment, to remove its directory even if the demo is killed."""

    def __init__(self, directory: Path) -> None:
        self._running = subprocess.Popen(  # noqa: S603 - our own module with our own argument
            [sys.executable, "-m", "aftercommit.cli.demo.janitor", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )

    def clean_up(self) -> None:
        """The demo is over: have the directory removed, and wait for that."""
        self._running.communicate()


class Port:
    """A free loopback port that nobody else is given while we hold it, so that a restarted process finds it free."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        # Bound but not listening: the kernel gives the port to nobody who asks for any, yet lets our process listen.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            # Elsewhere a bound socket keeps our own process out as well.
            self._socket.close()

    def close(self) -> None:
        """Give it back."""
        self._socket.close()


def environment() -> dict[str, str]:
    """The environment without settings of AfterCommit, which are meant for the user's own node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AFTERCOMMIT_")}


def raise_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the demo like Ctrl-C does, so that it cleans up after itself."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
