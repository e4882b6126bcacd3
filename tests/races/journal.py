"""What each process did and heard, as JSON lines that survive kill -9 up to the last one written."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """The journal of one process, in a file of its own. `at` is monotonic time, which all processes here share."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(folder / f"{name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, what: str, **fields: Any) -> None:
        """One line, in one call of the kernel, so that no death leaves half of it before the next."""
        os.write(self._file, json.dumps({"what": what, "at": time.monotonic(), **fields}).encode() + b"\n")


def read_journals(folder: Path) -> Iterator[dict[str, Any]]:
    """Every line of every process; within one process in order."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)
