"""A process that has everything imported and forks the processes of the races, so that many may die cheaply.

It reads one command a line: `start <role>` answers the pid; `signal <pid> <number>` and `await <pid> <seconds>` answer
`ok`, or `gone` and `late`. Only its own children that it has not buried are signalled. Its end is theirs.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PR_SET_PDEATHSIG: Final = 1
_LOOK_AGAIN_SECONDS: Final = 0.005
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class Nursery:
    """The nursery as the campaign holds it; use it as a context manager, from the main thread."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.races.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._said() == "ready", self._log.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(self, role: str) -> int:
        """Fork a process with this role; its pid."""
        return int(self._tell(f"start {role}"))

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal; whether the process was still there."""
        return self._tell(f"signal {pid} {int(number)}") == "ok"

    def wait(self, pid: int, seconds: float) -> bool:
        """Wait for an end; whether it came."""
        return self._tell(f"await {pid} {seconds}") != "late"

    def _tell(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _serve() -> None:
    _die_with_parent()
    children: set[int] = set()
    _say("ready")
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        match verb:
            case "start":
                pid = _fork(rest)
                children.add(pid)
                _say(str(pid))
            case "signal":
                pid, number = map(int, rest.split())
                _bury(pid, children)
                if pid in children:
                    os.kill(pid, number)
                _say("ok" if pid in children else "gone")
            case "await":
                pid, seconds = int(rest.split()[0]), float(rest.split()[1])
                _say("ok" if _ended(pid, children, seconds) else "late")
    for pid in list(children):
        _bury(pid, children)
        if pid in children:
            os.kill(pid, signal.SIGKILL)


def _ended(pid: int, children: set[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        _bury(pid, children)
        if pid not in children:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_AGAIN_SECONDS)


def _bury(pid: int, children: set[int]) -> None:
    if pid in children and os.waitpid(pid, os.WNOHANG)[0] == pid:
        children.discard(pid)


def _fork(role: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _die_with_parent()
        # The campaign's pipes are the nursery's alone.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        from tests.races.process import play

        play(role)
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _say(answer: str) -> None:
    sys.stdout.write(answer + "\n")
    sys.stdout.flush()


def _preload() -> None:
    from importlib import import_module

    for name in (
        *("tests.races.process", "psycopg", "asyncpg", "pymysql", "asyncmy", "aiosqlite"),
        *("sqlalchemy.orm", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql.psycopg"),
        *("sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.dialects.mysql.pymysql"),
        *("sqlalchemy.dialects.mysql.asyncmy", "sqlalchemy.dialects.sqlite.aiosqlite"),
        *("aftercommit.sdk.clients.client", "aftercommit.sdk.clients.async_client"),
        *(f"aftercommit.sdk.databases.{each}" for each in ("sqlalchemy", "psycopg", "asyncpg", "pymysql", "asyncmy")),
        *(f"aftercommit.sdk.databases.{each}" for each in ("sqlite3", "aiosqlite")),
    ):
        import_module(name)


if __name__ == "__main__":
    _preload()
    _serve()
