"""The program of one worker: `python -m aftercommit.cli.workers.process CHANNEL LISTENER`, both numbers of sockets.

Only a parent starts it, and when the parent is gone, however it went, the worker stops gracefully.
"""

import os
import signal
import socket
import sys
import threading
from contextlib import suppress

import msgspec

from aftercommit.cli.exit_codes import ExitCode
from aftercommit.cli.workers.handover import STOP_SECONDS, Handover, Ready, Refused, line_of
from aftercommit.domain.errors import ConfigurationError


def main() -> None:
    """Run a node on the parent's socket until SIGTERM, or until the parent is gone."""
    channel, listener = (_inherited(int(each)) for each in sys.argv[1:])
    with channel.makefile("rb") as lines:
        line = lines.readline()
    if not line:
        # The parent ended before it said anything.
        raise SystemExit(ExitCode.FAILURE)
    handover = msgspec.json.decode(line, type=Handover)
    threading.Thread(target=_stop_with_parent, args=(channel,), name="parent", daemon=True).start()
    # Imported here, so that a worker is soon able to notice that its parent is gone.
    from aftercommit.assembly import run

    try:
        run(
            handover.settings,
            announce=lambda line: _tell(channel, Ready(line)),
            listener=listener,
            worker=handover.number,
        )
    except ConfigurationError as error:
        _tell(channel, Refused(str(error)))
        raise SystemExit(ExitCode.FAILURE) from error


def _inherited(number: int) -> socket.socket:
    inherited = socket.socket(fileno=number)
    # What this process starts must not keep the channel or the port open after it.
    inherited.set_inheritable(False)
    return inherited


def _tell(channel: socket.socket, report: Ready | Refused) -> None:
    # A parent that is gone needs no report; the thread that waits for it stops this process.
    with suppress(BrokenPipeError):
        channel.sendall(line_of(report))


def _stop_with_parent(channel: socket.socket) -> None:
    # The parent says nothing more: what ends the wait is its end, with an error if it had not read all we said.
    with suppress(ConnectionResetError):
        channel.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(STOP_SECONDS)
    # Nobody is left who would kill a process that hangs, and it keeps the port.
    os._exit(ExitCode.FAILURE)


if __name__ == "__main__":
    main()
