"""A node as users run it, in a process of its own, on a throw-away database."""

import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from aftercommit.testing.node_process import Server
from benchmarks.meters import Exposition, cpu_seconds


class Node:
    """Started on entry, stopped on exit.

    The database is that of the address `database`, else a file under `directory` (default: a temporary one).
    """

    def __init__(self, directory: Path | None = None, database: str | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(dir=directory)
        # Of an option that is given twice the last counts.
        options = () if database is None else ("--database", database)
        self._server = Server(Path(self._temporary.name), options=("--log-level", "warning", *options))

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            self._server.kill9()
            self._temporary.cleanup()

    def stop(self) -> None:
        """Let it finish and end, if it runs."""
        if self._server.running:
            self._server.terminate()

    def cpu_seconds(self) -> float:
        """Processor time the node has used, user and system."""
        return cpu_seconds(self._server.pid)

    def metrics(self) -> Exposition:
        """What `/metrics` says now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10.0) as answer:
            return Exposition(answer.read().decode())
