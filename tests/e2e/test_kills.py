"""kill -9 at any moment of a running load: whatever was acknowledged stands, and everything comes to rest."""

import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from tests.e2e.history import Outcome, find_faults
from tests.e2e.load import Load
from tests.e2e.node import Node

KILLS = 24
SETTLE_SECONDS = 45.0


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_however_often_the_node_is_killed(own_node: Node) -> None:
    # Given a load that writes down what it does and hears
    load = Load(own_node)
    load.start()
    try:
        # When the node is killed again and again
        _torment(own_node, random.Random())
        # Then everything comes to rest
        load.settle(SETTLE_SECONDS)
    finally:
        load.stop()
    # And nothing that was promised was broken
    faults = find_faults(load.entries, load.finals())
    assert not load.problems, load.problems[:10]
    assert not faults, f"{len(faults)} faults, the first of them: {faults[:10]}"
    _require_a_real_load(load)
    # And the file is as sound as before
    own_node.terminate()
    with closing(sqlite3.connect(own_node.database)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _torment(node: Node, chance: random.Random) -> None:
    for number in range(KILLS):
        match number % 6:
            case 2 | 4:
                # In the middle of its start, or of what it does first.
                time.sleep(chance.uniform(0.0, 0.8))
            case 5:
                # Frozen in the middle of anything, then awake for a moment.
                node.await_ready()
                time.sleep(chance.uniform(0.1, 0.6))
                node.signal(signal.SIGSTOP)
                time.sleep(0.8)
                node.signal(signal.SIGCONT)
                time.sleep(chance.uniform(0.0, 0.3))
            case _:
                node.await_ready()
                time.sleep(chance.uniform(0.1, 1.0))
        node.kill9()
        node.start(wait=False)
    node.await_ready()


def _require_a_real_load(load: Load) -> None:
    """A run in which nothing happened proves nothing."""
    heard = Counter((each.verb, each.outcome) for each in load.entries)
    for verb in ("prepare", "confirm", "cancel", "deliver", "complete", "check", "read"):
        assert heard[verb, Outcome.OK] >= 20, heard
    assert sum(count for (_, outcome), count in heard.items() if outcome is Outcome.UNKNOWN) >= KILLS, heard
    assert len({each.message_id for each in load.entries if each.verb == "deliver"}) >= 50, heard
