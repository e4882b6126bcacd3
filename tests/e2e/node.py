"""A real node: the program that users start, as a process of its own."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from aftercommit.sdk import Client
from tests.e2e.caller import Caller

START_SECONDS = 30.0
STOP_SECONDS = 20.0
LOG_LINES_SHOWN = 30

_PR_SET_PDEATHSIG = 1
_ADDRESS = re.compile(r"http://[0-9a-z.:\[\]]+:(\d+)")
# Loaded here, because between fork and exec nothing may be loaded any more.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Node:
    """`aftercommit serve` on a database file of its own. The first start takes a free port, later ones the same.

    Start it from the main thread: the kernel kills the process when the thread that started it ends.
    """

    def __init__(self, folder: Path, *, database: Path | None = None, options: Sequence[str] = ()) -> None:
        self.database = database or folder / "node.db"
        self.log = folder / "node.log"
        self.port = 0
        self._folder = folder
        self._options = tuple(options)
        self._shown_from = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()

    @property
    def pid(self) -> int:
        """The process that runs, or ran last."""
        assert self._process is not None, "The node was never started."
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> Self:
        """Start the process; with `wait`, return when it is ready."""
        assert not self.running, "The node runs already."
        said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                serve_command(self.database, self.port, *self._options),
                cwd=self._folder,
                env=plain_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - it makes one call of the kernel and takes no lock
            )
        if not self.port:
            self.port = self._announced_port(said_before)
        if wait:
            self.await_ready()
        return self

    def await_ready(self, within_seconds: float = START_SECONDS) -> None:
        """Return when /readyz says 200."""
        until = time.monotonic() + within_seconds
        with self.caller() as probe:
            while time.monotonic() < until:
                assert self.running, f"The node ended with {self.exit_code}:\n{self.log_tail()}"
                if _is_ready(probe):
                    return
                time.sleep(0.02)
        raise AssertionError(f"The node was not ready within {within_seconds} s:\n{self.log_tail()}")

    def kill9(self) -> None:
        """Kill the process and whatever it started, at once. Nothing happens if it does not run."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def terminate(self, within_seconds: float = STOP_SECONDS) -> None:
        """Ask it to stop, and insist that it does, in time and without complaint."""
        self.signal(signal.SIGTERM)
        self.await_end(within_seconds)

    def await_end(self, within_seconds: float = STOP_SECONDS) -> None:
        """Wait for the end of a process that was asked to stop."""
        assert self._process is not None
        try:
            code = self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"The node runs {within_seconds} s after SIGTERM:\n{self.log_tail()}") from None
        assert code == 0, f"The node ended with {code} after SIGTERM:\n{self.log_tail()}"

    def restart(self) -> Self:
        """Kill it and start it again on the same file and port."""
        self.kill9()
        return self.start()

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def caller(self, app: str | None = None) -> Caller:
        """Somebody who speaks HTTP to this node: an application, or (without a name) the node's operator."""
        return Caller(self.port, app)

    def client(self, app: str | None = None) -> Client:
        """The SDK's client of this node."""
        return Client(f"http://127.0.0.1:{self.port}", app=app)

    def mark(self) -> None:
        """What it said until now does not concern the next test."""
        self._shown_from = self.log.stat().st_size

    def log_tail(self) -> str:
        """The last lines of what it said since the mark."""
        if not self.log.exists():
            return "(it said nothing)"
        said = self.log.read_bytes()[self._shown_from :].decode(errors="replace")
        return "\n".join(said.splitlines()[-LOG_LINES_SHOWN:]) or "(it said nothing)"

    def _announced_port(self, said_before: int) -> int:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            said = self.log.read_bytes()[said_before:].decode(errors="replace")
            if found := _ADDRESS.search(said):
                return int(found.group(1))
            assert self.running, f"The node ended with {self.exit_code}:\n{said}"
            time.sleep(0.02)
        raise AssertionError(f"The node did not say where it listens within {START_SECONDS} s:\n{self.log_tail()}")


def serve_command(database: Path, port: int, *options: str) -> list[str]:
    """What a user types, with the interpreter that runs the tests."""
    return [
        *(sys.executable, "-m", "aftercommit", "serve"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--database", f"sqlite:///{database}", "--broker", "memory://"),
        *options,
    ]


def plain_environment() -> dict[str, str]:
    """This process's environment without what would configure a node or the tests' own Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AFTERCOMMIT_", "PYTEST_"))}


def _is_ready(probe: Caller) -> bool:
    try:
        return probe.get("/readyz").status == 200
    except (OSError, HTTPException):
        return False


def _die_with_the_tests() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
