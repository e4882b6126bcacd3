"""Removes the demo's directory when the demo is over, however it ended: `python -m aftercommit.cli.demo.janitor DIR`.

A process of its own, because a demo that is killed with `kill -9` cannot clean up after itself.
"""

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

_TRIES_MAX: Final = 50
_PAUSE_SECONDS: Final = 0.1


def remove(directory: Path) -> bool:
    """Remove it, again and again while dying processes still put files there. Says whether it is gone."""
    for _ in range(_TRIES_MAX):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return True
        time.sleep(_PAUSE_SECONDS)
    return False


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sys.exit(0 if remove(Path(sys.argv[1])) else 1)
