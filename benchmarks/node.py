"""A node as users run it, in a process of its own, on a throw-away database."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_TICKS = os.sysconf("SC_CLK_TCK")


class Node:
    """Started on entry, stopped on exit. The database lies under `directory` (default: a temporary one)."""

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(dir=directory)
        self.port = 0

    def __enter__(self) -> Self:
        database = Path(self._temporary.name) / "bench.db"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "aftercommit", "serve", "--port", "0"),
                *("--database", f"sqlite:///{database}", "--log-level", "warning"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in self._process.stdout or ():
            if found := _ADDRESS.search(line):
                self.port = int(found[1])
                return self
        raise RuntimeError("The node ended before it listened.")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)
        self._temporary.cleanup()

    def cpu_seconds(self) -> float:
        """Processor time the node has used, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
