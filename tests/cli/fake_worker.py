"""A worker without a node, which does what the test tells it: `fake_worker.py TEST_PORT CHANNEL LISTENER`."""

import json
import os
import signal
import socket
import sys
import threading
from typing import Any

import msgspec

from aftercommit.cli.workers.handover import Handover, Ready, Refused, line_of

EXIT_CODE = 7


def main() -> None:
    """Ask the test what to do, and do it."""
    test_port, channel_number, listener_number = (int(each) for each in sys.argv[1:])
    channel, listener = socket.socket(fileno=channel_number), socket.socket(fileno=listener_number)
    with socket.create_connection(("127.0.0.1", test_port)) as test, test.makefile("r") as orders:
        tell(test, pid=os.getpid())
        order = orders.readline().strip()
        if order == "die unheard":
            # A signal, so that nothing is cleaned up: what the parent said is never read.
            os.kill(os.getpid(), signal.SIGKILL)
        handover = msgspec.json.decode(channel.makefile("rb").readline(), type=Handover)
        match order:
            case "refuse":
                channel.sendall(line_of(Refused("The moon is wrong. Choose another one.")))
                raise SystemExit(1)
            case "die":
                raise SystemExit(EXIT_CODE)
            case "die in half a sentence":
                channel.sendall(line_of(Ready("I am"))[:-5])
                os.kill(os.getpid(), signal.SIGKILL)
            case "linger":
                signal.signal(signal.SIGTERM, lambda *_: tell(test, asked_to_stop=True))
            case "serve":
                pass
        channel.sendall(line_of(Ready(f"Listening on port {listener.getsockname()[1]}.")))
        threading.Thread(target=answer, args=(listener, handover.number), daemon=True).start()
        tell(test, number=handover.number, database=handover.settings.database)
        # A lingering worker ends when the test says so.
        orders.readline()


def tell(test: socket.socket, **facts: Any) -> None:
    """One line of JSON to the test."""
    test.sendall(json.dumps(facts).encode() + b"\n")


def answer(listener: socket.socket, number: int) -> None:
    """Tell whoever connects which worker this is."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            # Another worker took it.
            continue
        with connection:
            connection.sendall(str(number).encode())


if __name__ == "__main__":
    main()
