"""Ports that are free now and stay free while a server is killed and started again."""

import random
import socket

# Below the range that the kernel takes ports of outgoing connections from (32768 and up on Linux), so that no client's
# connection sits on a server's port when the server comes back, and no probe of a dead port connects to itself.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 100
# The operating system's chance: pytest-randomly seeds the shared generator, and two runs would choose the same ports.
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    for port in _CHANCE.sample(_PORTS, _ATTEMPTS):
        if _can_bind(port):
            return port
    raise AssertionError(f"None of {_ATTEMPTS} ports between {_PORTS.start} and {_PORTS.stop} is free.")


def accepts_connections(port: int) -> bool:
    """Whether somebody listens on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _can_bind(port: int) -> bool:
    with socket.socket() as holder:
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
