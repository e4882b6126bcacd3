"""Healthy requests beside whatever a test does: they must not notice."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.names import fresh
from tests.e2e.node import Node

PAUSE_SECONDS = 0.02


@contextmanager
def undisturbed(node: Node, slowest_seconds: float = 1.5) -> Iterator[None]:
    """Prepares messages one after the other meanwhile; each must be stored, and fast enough."""
    begun, done = threading.Event(), threading.Event()
    took: list[float] = []
    wrong: list[object] = []

    def beat() -> None:
        topic = fresh("heartbeat.")
        with node.caller(fresh("healthy-")) as caller:
            last = False
            while not last:
                # One more after the end: what was broken must not stay broken.
                last = done.is_set()
                began = time.monotonic()
                answer = caller.prepare(topic, "beat")
                took.append(time.monotonic() - began)
                if answer.status != 201:
                    wrong.append(answer)
                begun.set()
                done.wait(PAUSE_SECONDS)

    thread = threading.Thread(target=beat)
    thread.start()
    begun.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join(60)
    assert len(took) >= 2, "A healthy request was not answered at all."
    assert not wrong, f"Healthy requests were refused: {wrong[:3]}"
    assert max(took) < slowest_seconds, f"A healthy request took {max(took):.1f} s."
