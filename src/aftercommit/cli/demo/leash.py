"""Runs a module as a program that never outlives the demo: `python -m aftercommit.cli.demo.leash PARENT MODULE ...`.

Two ways, for either alone has a gap: the kernel's signal comes at once but only on Linux, the end of standard input
comes everywhere but only to a process whose threads still run.
"""

import ctypes
import os
import runpy
import signal
import sys
import threading
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def tie_to(parent: int) -> None:
    """From here on this process ends when the process `parent`, which started it, ends."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "The death signal of the parent cannot be asked for")
    if os.getppid() != parent:
        # It ended before the signal could be asked for.
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=_end_with_input, name="leash", daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 4096):
        continue
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
