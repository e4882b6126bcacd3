"""A node as users run it, in a process of its own, on a throw-away database."""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from aftercommit.testing.node_process import Server

_TICKS = os.sysconf("SC_CLK_TCK")


class Node:
    """Started on entry, stopped on exit. The database lies under `directory` (default: a temporary one)."""

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(dir=directory)
        self._server = Server(Path(self._temporary.name), options=("--log-level", "warning"))

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._server.terminate()
        finally:
            self._server.kill9()
            self._temporary.cleanup()

    def cpu_seconds(self) -> float:
        """Processor time the node has used, user and system."""
        fields = Path(f"/proc/{self._server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
