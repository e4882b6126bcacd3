"""The demo finds what is wrong with the books, and nothing is wrong with ours after everything was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from aftercommit.cli.demo import chance
from aftercommit.cli.demo.reconciliation import Books, reconcile
from aftercommit.cli.demo.scene import VICTIMS
from aftercommit.domain.commands import CheckOutcome
from aftercommit.domain.lifecycle import Status

ORDERS = 150
SEED = 20
REPOSITORY = Path(__file__).parents[2]

# Order 1 and 2 committed, 3 was declined; the first try of order 2 was abandoned and ruled out by a check-back.
MATCHING = Books(
    planned=frozenset({1, 2, 3}),
    orders={"a": 1, "b": 2},
    declined=frozenset({3}),
    markers={
        "a": CheckOutcome.COMMITTED,
        "b": CheckOutcome.COMMITTED,
        "c": CheckOutcome.ROLLED_BACK,
        "b0": CheckOutcome.ROLLED_BACK,
    },
    effects=[("a", 1), ("b", 2)],
    inbox=frozenset({"a", "b"}),
    messages={
        "a": Status.COMPLETED,
        "b": Status.COMPLETED,
        "c": Status.ROLLED_BACK,
        "b0": Status.ROLLED_BACK,
    },
    ordered={"anvil": 3},
    taken={"anvil": 3, "drill": 0},
)


def found(books):
    return {finding.name: finding.offenders for finding in reconcile(books) if finding.offenders}


def test_matching_books_are_left_in_peace():
    assert found(MATCHING) == {}


PLANTED = [
    ("a lost effect", {"effects": [("a", 1)], "inbox": frozenset({"a"})}, {"lost": ("order 2 (message b)",)}),
    (
        "a phantom effect",
        {"effects": [*MATCHING.effects, ("c", 3)], "inbox": frozenset({"a", "b", "c"})},
        {"phantom": ("order 3 (message c)",)},
    ),
    (
        "an effect that came twice",
        {"effects": [*MATCHING.effects, ("a", 1)]},
        {"repeated": ("order 1 (message a)",)},
    ),
    (
        "one lost and one phantom, which a count would not see",
        {"effects": [("a", 1), ("c", 3)], "inbox": frozenset({"a", "c"})},
        {"lost": ("order 2 (message b)",), "phantom": ("order 3 (message c)",)},
    ),
    (
        "an effect of the right message on the wrong order",
        {"effects": [("a", 1), ("b", 3)]},
        {"lost": ("order 2 (message b)",), "phantom": ("order 3 (message b)",)},
    ),
    (
        "a stuck message",
        {"messages": {**MATCHING.messages, "b": Status.SENT}},
        {"incomplete": ("b",), "stuck": ("b (sent)",)},
    ),
    (
        "an undecided message",
        {"messages": {**MATCHING.messages, "b0": Status.UNDECIDED}},
        {"stuck": ("b0 (undecided)",)},
    ),
    (
        "a message the node has forgotten",
        {"messages": {name: status for name, status in MATCHING.messages.items() if name != "b"}},
        {"incomplete": ("b",)},
    ),
    (
        "a committed order whose message was rolled back",
        {"messages": {**MATCHING.messages, "b": Status.ROLLED_BACK}},
        {"incomplete": ("b",), "unruled": ("b",)},
    ),
    (
        "a message completed although its order was declined",
        {"messages": {**MATCHING.messages, "c": Status.COMPLETED}},
        {"unfounded": ("c",)},
    ),
    (
        "a message rolled back although nobody ruled it out",
        {"messages": {**MATCHING.messages, "x": Status.ROLLED_BACK}},
        {"unruled": ("x",)},
    ),
    ("an order that never ended", {"planned": frozenset({1, 2, 3, 4})}, {"unplaced": ("4",)}),
    ("an order both committed and declined", {"declined": frozenset({2, 3})}, {"contradictory": ("2",)}),
    (
        "an order without its marker",
        {"markers": {**MATCHING.markers, "b": CheckOutcome.ROLLED_BACK}},
        {"unmarked": ("b",)},
    ),
    ("an effect without its inbox row", {"inbox": frozenset({"a"})}, {"uninboxed": ("b",)}),
    ("a shelf that misses too much", {"taken": {"anvil": 4}}, {"shelves": ("anvil",)}),
    ("a shelf nobody ordered from", {"taken": {"anvil": 3, "drill": 1}}, {"shelves": ("drill",)}),
    ("a contradiction heard from the node", {"incidents": ["409"]}, {"incidents": ("409",)}),
]


@pytest.mark.parametrize(("changes", "findings"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED])
def test_what_is_planted_is_found(changes, findings):
    assert found(replace(MATCHING, **changes)) == findings


def test_the_same_seed_makes_the_same_mishaps_and_kills():
    assert chance.mishaps(7, 500) == chance.mishaps(7, 500)
    assert chance.kills(7, 500, VICTIMS) == chance.kills(7, 500, VICTIMS)
    assert chance.kills(7, 500, VICTIMS) != chance.kills(8, 500, VICTIMS)


@pytest.mark.parametrize("seed", range(20))
def test_everybody_is_killed_at_least_twice_while_orders_flow(seed):
    kills = chance.kills(seed, 1000, VICTIMS)

    assert all(sum(kill.victim == victim for kill in kills) >= 2 for victim in VICTIMS)
    assert all(0 < kill.after_orders < 1000 for kill in kills)


def test_a_demo_full_of_kills_ends_with_books_that_match(tmp_path):
    ended = subprocess.run(
        demo_command("--orders", str(ORDERS), "--seed", str(SEED), "--json"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment(tmp_path),
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    document = json.loads(ended.stdout)
    mishaps = chance.mishaps(SEED, ORDERS)
    planned = chance.kills(SEED, ORDERS, VICTIMS)
    assert document["ok"]
    assert (document["seed"], document["orders"]) == (SEED, ORDERS)
    assert document["kills"] == {victim: sum(kill.victim == victim for kill in planned) for victim in VICTIMS}
    assert document["declined"] == len(mishaps.declined)
    assert document["confirms_lost"] == len(mishaps.confirm_lost - mishaps.declined)
    committed = ORDERS - len(mishaps.declined)
    assert document["committed"] == document["effects"] == document["messages"]["completed"] == committed
    assert sum(document["messages"].values()) == committed + document["messages"]["rolled_back"]
    assert document["checks"]["committed"] >= document["confirms_lost"]
    assert document["duplicates_suppressed"] > 0
    assert not any(document["findings"].values())
    assert list(tmp_path.iterdir()) == []


def test_a_check_back_without_the_barrier_is_found_out(tmp_path):
    program = (
        "from aftercommit.cli.demo.show import show\n"
        "print(show(orders=40, seed=3, chaos=False, modules={'orders': 'tests.e2e.naive_order_service'}))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env=environment(tmp_path),
    )

    assert ended.stdout.splitlines()[-1] == "False", ended.stdout
    assert "committed orders without their effect: order " in ended.stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path, sent):
    running = subprocess.Popen(
        demo_command("--orders", "1000"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    )
    assert running.stdout is not None
    flowing = any("orders flow" in line for line in running.stdout)
    family = psutil.Process(running.pid).children(recursive=True)

    running.send_signal(sent)
    running.stdout.close()
    code = running.wait(30)

    assert flowing
    assert len(family) >= 4
    assert code != 0
    gone, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert len(gone) == len(family)
    await_empty(tmp_path)


def demo_command(*options):
    return [sys.executable, "-m", "aftercommit", "demo", *options]


def environment(directory):
    """Temporary files go to `directory`, so that a test sees what is left."""
    return {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": str(REPOSITORY)}


def await_empty(directory):
    until = time.monotonic() + 15
    while list(directory.iterdir()):
        assert time.monotonic() < until, list(directory.iterdir())
        time.sleep(0.05)
