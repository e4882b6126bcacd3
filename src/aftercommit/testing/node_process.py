"""A real node for a test: the program that users run, as a process of its own on a database file of its own."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aftercommit.clocks import SystemClock
from aftercommit.sdk.clients.async_client import AsyncClient
from aftercommit.sdk.clients.client import Client

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
LOG_LINES_SHOWN: Final = 30

_POLL_SECONDS: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1
_ADDRESS: Final = re.compile(r"http://[0-9a-z.:\[\]]+:(\d+)")
# Loaded here, because between fork and exec nothing may be loaded any more.
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServerFailed(Exception):
    """The process did not do what was asked of it. The text ends with the last lines it wrote.

    try:
        Server(folder, options=["--nonsense"]).start()
    except ServerFailed as failure:
        assert "No such option" in str(failure)
    """


class Server:
    """`aftercommit serve` without keys, on a free port of this machine; `log` is the file of what it says.

    Started by `start` or on entering a `with`, killed on leaving it. The first start takes a free port, later ones the
    same, so that clients find it again. On Linux the kernel ends it with the tests, whatever happens to them: with the
    thread that started it, to be exact, so start it in the main thread.

        with Server(folder) as server, server.client(app="orders") as client:
            client.prepare("orders.created", {"order": 42}, confirmed=True)
            server.restart()
            assert len(list(client.messages(topic="orders.created"))) == 1
    """

    def __init__(self, folder: Path, *, database: Path | None = None, options: Sequence[str] = ()) -> None:
        """`folder` takes the log, and the database unless `database` names its file. `options` go to the command."""
        self.database = database or folder / "node.db"
        self.log = folder / "node.log"
        self.port = 0
        self._folder = folder
        self._options = tuple(options)
        self._shown_from = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = SystemClock()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()

    @property
    def url(self) -> str:
        """Where it listens, for `Client(url)`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs, or ran last. Raises ServerFailed if none ever did."""
        if self._process is None:
            raise ServerFailed("The node was never started.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def client(self, app: str | None = "orders", **options: Any) -> Client:
        """A client of this node; close it. Without a name it is the operator's."""
        return Client(self.url, app=app, **options)

    def async_client(self, app: str | None = "orders", **options: Any) -> AsyncClient:
        """The same for asyncio."""
        return AsyncClient(self.url, app=app, **options)

    def start(self, *, wait: bool = True) -> Self:
        """Start the process; with `wait`, return when it is ready. Raises ServerFailed with what it said."""
        if self.running:
            raise ServerFailed("The node runs already.")
        said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, with the options the test gave
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
        """Return when it can do its work. Raises ServerFailed if that takes longer, or if it ended."""
        until = self._clock.monotonic() + within_seconds
        with self.client(app=None, timeout_seconds=5.0) as probe:
            while self._clock.monotonic() < until:
                self._require_running(self.log_tail)
                if probe.ready():
                    return
                time.sleep(_POLL_SECONDS)
        raise ServerFailed(f"The node was not ready within {within_seconds} s:\n{self.log_tail()}")

    def kill9(self) -> None:
        """Kill the process and whatever it started, at once. Nothing happens if it does not run."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)

    def restart(self) -> Self:
        """Kill it and start it again on the same file and port."""
        self.kill9()
        return self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def terminate(self, within_seconds: float = STOP_SECONDS) -> None:
        """Ask it to stop, and insist that it does, in time and without complaint."""
        self.signal(signal.SIGTERM)
        self.await_end(within_seconds)

    def await_end(self, within_seconds: float = STOP_SECONDS) -> None:
        """Wait for the end of a process that was asked to stop. Raises ServerFailed if it fails or takes longer."""
        if self._process is None:
            raise ServerFailed("The node was never started.")
        try:
            code = self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"The node runs {within_seconds} s after SIGTERM:\n{self.log_tail()}") from None
        if code != 0:
            raise ServerFailed(f"The node ended with {code} after SIGTERM:\n{self.log_tail()}")

    def mark(self) -> None:
        """What it said until now does not concern the next test."""
        self._shown_from = self.log.stat().st_size

    def log_tail(self) -> str:
        """The last lines of what it said since the mark."""
        return _last_lines(self._said(self._shown_from)) or "(it said nothing)"

    def _announced_port(self, said_before: int) -> int:
        until = self._clock.monotonic() + START_SECONDS
        while self._clock.monotonic() < until:
            said = self._said(said_before)
            if found := _ADDRESS.search(said):
                return int(found.group(1))
            self._require_running(lambda: self._said(said_before))
            time.sleep(_POLL_SECONDS)
        raise ServerFailed(f"The node did not say where it listens within {START_SECONDS} s:\n{self.log_tail()}")

    def _require_running(self, said: Any) -> None:
        if not self.running:
            raise ServerFailed(f"The node ended with {self.exit_code}:\n{said()}")

    def _said(self, from_byte: int) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[from_byte:].decode(errors="replace")


@contextmanager
def server(*, options: Sequence[str] = ()) -> Iterator[Server]:
    """A node that is ready, in a folder that vanishes with it. `options` go to `aftercommit serve`.

    with aftercommit.testing.server() as node, node.client(app="orders") as client:
        client.prepare("orders.created", {"order": 42}, confirmed=True)
    """
    with tempfile.TemporaryDirectory(prefix="aftercommit-") as folder, Server(Path(folder), options=options) as node:
        yield node


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


def _last_lines(said: str) -> str:
    return "\n".join(said.splitlines()[-LOG_LINES_SHOWN:])


def _die_with_the_tests() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
