"""The judge is judged first: it passes races as they may end, and finds every fault that is planted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.races.evidence import Tables, figures, gathered, races
from tests.races.judge import RULES, Checked, Evidence, Row, Run, Told, find_contradictions

Plant = Callable[[dict[str, Any]], None]


def _good() -> dict[str, Any]:
    """Races as they may end: every way a transaction ends, and every way it may be checked."""
    runs = [
        # Committed, with one message taken back by a savepoint.
        Run("a:1", "a", 0, 3, "committed", ("a1", "a2", "a3"), ("a3",)),
        # Ruled out by a check, and run again under new ids.
        Run("b:1", "b", 0, 2, "ruled_out", ("b1",)),
        Run("b:2", "b", 3, 4, "committed", ("b2",)),
        # The answer to COMMIT was lost after it took effect, and the second run found that out.
        Run("c:1", "c", 0, 2, "uncertain", ("c1", "c2")),
        Run("c:2", "c", 3, 4, "already_done", ("c1", "c2")),
        # Lost before it took effect; nobody tried again.
        Run("d:1", "d", 0, 2, "uncertain", ("d1",)),
        # Killed, after COMMIT and before it.
        Run("e:1", "e", 0, 2, None, ("e1",)),
        Run("f:1", "f", 0, 2, None, ("f1",)),
        # Not prepared, refused by the database, given up by the code, ended by hand: nothing is there.
        Run("g:1", "g", 0, 2, "not_prepared", ("g1",)),
        Run("h:1", "h", 0, 2, "refused", ("h1",)),
        Run("i:1", "i", 0, 2, "raised", ("i1",)),
        Run("j:1", "j", 0, 2, "ended", ("j1",)),
        # Lost before it took effect, and done by the second run.
        Run("k:1", "k", 0, 2, "uncertain", ("k1",)),
        Run("k:2", "k", 3, 4, "committed", ("k1",)),
    ]
    rows = [
        *(Row("a1", "a", "a:1"), Row("a2", "a", "a:1"), Row("b2", "b", "b:2"), Row("c1", "c", "c:1")),
        *(Row("c2", "c", "c:1"), Row("e1", "e", "e:1"), Row("k1", "k", "k:2")),
    ]
    committed = {row.message_id for row in rows}
    prepared = committed | {"b1", "d1", "f1", "h1", "i1"}
    told = [
        *(Told("prepare", each, "pending") for each in sorted(prepared)),
        # One prepare whose request was lost: the service never heard of it.
        Told("prepare", "g1", None),
        *(Told("confirm", each, "confirmed") for each in ("a1", "a2", "b2")),
        Told("confirm", "k1", None),
        Told("cancel", "i1", "rolled_back"),
        Told("cancel", "h1", None),
        Told("confirm", "c1", "confirmed"),
    ]
    checks = [
        Checked("a1", 1, 2, "unknown"),
        Checked("a1", 5, 6, "committed"),
        Checked("b1", 0.5, 1, "rolled_back"),
        Checked("b1", 9, 10, "rolled_back"),
        Checked("c2", 2.5, 3, "committed"),
        Checked("d1", 5, 6, "rolled_back"),
        Checked("e1", 1, 1.5, "unknown"),
        Checked("e1", 5, 6, "committed"),
        Checked("f1", 1, None, None),
        Checked("f1", 5, 6, "rolled_back"),
        Checked("h1", 5, 6, "rolled_back"),
        Checked("k1", 5, 6, "committed"),
    ]
    return {
        "runs": runs,
        "checks": checks,
        "told": told,
        "rows": rows,
        "markers": {each: "committed" if each in committed else "rolled_back" for each in prepared},
        "statuses": {each: "confirmed" if each in committed else "rolled_back" for each in prepared},
    }


def _judged(parts: dict[str, Any]) -> set[str]:
    return {each.rule for each in find_contradictions(Evidence(**parts))}


def _add(where: str, what: object) -> Plant:
    return lambda parts: parts[where].append(what)


def _put(where: str, message_id: str, what: str) -> Plant:
    return lambda parts: parts[where].__setitem__(message_id, what)


def _lose(where: str, message_id: str) -> Plant:
    return lambda parts: parts[where].pop(message_id)


def _unwrite(message_id: str) -> Plant:
    def plant(parts: dict[str, Any]) -> None:
        parts["rows"] = [row for row in parts["rows"] if row.message_id != message_id]

    return plant


def _say(run: str, said: str) -> Plant:
    def plant(parts: dict[str, Any]) -> None:
        parts["runs"] = [replace(each, said=said) if each.run == run else each for each in parts["runs"]]

    return plant


PLANTED: list[tuple[str, Plant]] = [
    ("markers_and_rows_agree", _lose("markers", "a1")),
    ("markers_and_rows_agree", _put("markers", "a1", "rolled_back")),
    ("markers_and_rows_agree", _put("markers", "d1", "committed")),
    ("markers_and_rows_agree", _unwrite("c1")),
    ("checks_tell_the_truth", _add("checks", Checked("a1", 0.1, 0.2, "rolled_back"))),
    ("checks_tell_the_truth", _add("checks", Checked("d1", 1, 2, "committed"))),
    ("checks_tell_the_truth", _add("checks", Checked("g1", 1, 2, "committed"))),
    ("checks_tell_the_truth", _unwrite("k1")),
    ("checks_never_change_their_mind", _add("checks", Checked("b1", 0.1, 0.2, "committed"))),
    ("the_service_settles_what_happened", _put("statuses", "e1", "rolled_back")),
    ("the_service_settles_what_happened", _put("statuses", "f1", "confirmed")),
    ("the_service_settles_what_happened", _unwrite("e1")),
    ("everything_settles", _put("statuses", "f1", "pending")),
    ("what_is_written_was_prepared", _lose("statuses", "a2")),
    ("initiators_only_tell_the_truth", _add("told", Told("cancel", "e1", None))),
    ("initiators_only_tell_the_truth", _add("told", Told("cancel", "e1", "confirmed"))),
    ("initiators_only_tell_the_truth", _add("told", Told("confirm", "d1", None))),
    ("what_the_service_acknowledged_stays", _add("told", Told("confirm", "f1", "confirmed"))),
    ("what_the_service_acknowledged_stays", _put("statuses", "i1", "confirmed")),
    ("callers_were_told_the_truth", _unwrite("b2")),
    ("callers_were_told_the_truth", _say("d:1", "committed")),
    ("callers_were_told_the_truth", _say("c:1", "ruled_out")),
    ("callers_were_told_the_truth", _say("c:1", "refused")),
    ("callers_were_told_the_truth", _say("a:1", "not_prepared")),
    ("callers_were_told_the_truth", _say("a:1", "already_done")),
    ("callers_were_told_the_truth", _say("h:1", "broken")),
    ("runs_are_whole", _unwrite("a2")),
    ("runs_are_whole", _add("rows", Row("a3", "a", "a:1"))),
    ("runs_are_whole", _add("rows", Row("a1", "a", "a:1"))),
    ("runs_are_whole", _add("rows", Row("x", "x", "x:1"))),
    ("effects_come_once", _add("rows", Row("b1", "b", "b:1"))),
    ("effects_come_once", _add("rows", Row("k1", "k", "k:1"))),
    ("already_done_was_done", _say("k:1", "already_done")),
    ("already_done_was_done", _say("d:1", "already_done")),
]


def test_races_that_ended_well_have_no_contradictions() -> None:
    assert _judged(_good()) == set()


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=[f"{n} {rule}" for n, (rule, _) in enumerate(PLANTED)])
def test_a_planted_contradiction_is_found(rule: str, plant: Plant) -> None:
    parts = _good()

    plant(parts)

    assert rule in _judged(parts)


def test_every_rule_has_a_planted_contradiction() -> None:
    assert {rule for rule, _ in PLANTED} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    "plant",
    [
        _say("a:1", "uncertain"),
        _add("checks", Checked("a1", 0, 9, "unknown")),
        _add("checks", Checked("k1", 0, None, None)),
        _add("told", Told("confirm", "e1", None)),
        _add("told", Told("cancel", "d1", None)),
        _add("told", Told("prepare", "a1", "confirmed")),
    ],
)
def test_what_may_have_been_either_way_is_no_contradiction(plant: Plant) -> None:
    parts = _good()

    plant(parts)

    assert _judged(parts) == set()


def test_the_journals_of_a_race_become_its_evidence() -> None:
    entries = [
        {"what": "began", "at": 1, "unit": "p.1", "run": "p.0:1", "number": 0},
        {"what": "published", "at": 1, "run": "p.0:1", "id": "m"},
        {"what": "published", "at": 1, "run": "p.0:1", "id": "n"},
        {"what": "undone", "at": 2, "run": "p.0:1", "id": "n"},
        {"what": "asked", "at": 2, "question": "c/1", "ids": ["m", "z"]},
        {"what": "answered", "at": 3, "question": "c/1", "answers": {"m": "unknown", "z": "rolled_back"}},
        {"what": "asked", "at": 9, "question": "c/2", "ids": ["m"]},
        {"what": "service", "at": 2, "verb": "prepare", "ids": ["m"], "answers": ["pending"]},
        {"what": "service", "at": 2, "verb": "confirm", "ids": ["m"], "answers": None},
        {"what": "service", "at": 2, "verb": "answer", "ids": ["z"], "answers": ["rolled_back"]},
        {"what": "killed", "at": 4, "process": "p"},
    ]

    evidence = gathered(entries, Tables((Row("m", "p.1", "p.0:1"),), {"m": "committed"}), {"m": "pending"})

    assert evidence.runs == [Run("p.0:1", "p.1", 1, 4, None, ("m", "n"), ("n",))]
    assert evidence.told == [Told("prepare", "m", "pending"), Told("confirm", "m", None)]
    assert Checked("m", 2, 3, "unknown") in evidence.checks
    assert Checked("m", 9, None, None) in evidence.checks
    assert races(evidence) == 1
    assert figures(evidence)["killed and committed"] == 1


def test_a_check_before_or_after_a_transaction_is_no_race() -> None:
    parts = _good() | {"checks": [Checked("a1", -2, -1, "unknown"), Checked("a1", 3, 4, "committed")]}
    assert races(Evidence(**parts)) == 0
