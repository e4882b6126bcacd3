"""kill -9 at any moment of a running load: whatever was acknowledged stands, and everything comes to rest."""

import random
import time
from collections import Counter

import pytest

from tests.e2e.history import Outcome, find_faults
from tests.e2e.load import Load
from tests.e2e.node import Node

KILLS = 22
SETTLE_SECONDS = 40.0


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_however_often_the_node_is_killed(own_node: Node) -> None:
    # Given a load that writes down what it does and hears
    load = Load(own_node)
    load.start()
    chance = random.Random()
    try:
        # When the node is killed again and again, some of the times before it is even ready
        for number in range(KILLS):
            if number % 4 == 3:
                time.sleep(chance.uniform(0.0, 0.6))
                own_node.kill9()
                own_node.start(wait=False)
            else:
                own_node.await_ready()
                time.sleep(chance.uniform(0.1, 1.2))
                own_node.kill9()
                own_node.start(wait=False)
        own_node.await_ready()
        # Then everything comes to rest
        load.settle(SETTLE_SECONDS)
    finally:
        load.stop()
    # And nothing that was promised was broken
    finals = load.finals()
    faults = find_faults(load.entries, finals)
    assert not load.problems, load.problems[:10]
    assert not faults, f"{len(faults)} faults, the first of them: {faults[:10]}"
    _require_a_real_load(load)


def _require_a_real_load(load: Load) -> None:
    """A run in which nothing happened proves nothing."""
    heard = Counter((each.verb, each.outcome) for each in load.entries)
    for verb in ("prepare", "confirm", "cancel", "deliver", "complete", "check", "read"):
        assert heard[verb, Outcome.OK] >= 20, heard
    assert sum(count for (_, outcome), count in heard.items() if outcome is Outcome.UNKNOWN) >= KILLS, heard
    assert len({each.message_id for each in load.entries if each.verb == "deliver"}) >= 50, heard
