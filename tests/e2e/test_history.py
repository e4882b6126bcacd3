"""The judge is judged first: it passes a good history, and finds every fault that is planted."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.e2e.history import RULES, Entry, Final, Outcome, find_faults

OK, REFUSED, UNKNOWN = Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN
CONFIRMED, CANCELLED, CHECKED, PUBLISHED = "confirmed", "cancelled", "checked", "published"

Finals = dict[str, Final]
Plant = Callable[[list[Entry], Finals], None]


def _entry(verb: str, message_id: str, at: float, outcome: Outcome = OK, **fields: object) -> Entry:
    return Entry(verb, message_id, at, at + 0.5, outcome, **fields)  # type: ignore[arg-type]


def _good() -> tuple[list[Entry], Finals]:
    """Four lives as they may be, seen by several actors, with answers that were lost."""
    entries = [
        # Confirmed; the first complete was lost and the delivery came again.
        _entry("prepare", CONFIRMED, 0, UNKNOWN, digest="a"),
        _entry("prepare", CONFIRMED, 1, status="pending_confirmation", said="200", digest="a"),
        _entry("read", CONFIRMED, 2, status="pending_confirmation", said="200"),
        _entry("confirm", CONFIRMED, 3, status="pending_send", said="200"),
        _entry("deliver", CONFIRMED, 4, subscription="billing", attempt=1, digest="a"),
        _entry("complete", CONFIRMED, 5, UNKNOWN, subscription="billing"),
        _entry("read", CONFIRMED, 6, status="sent", said="200"),
        _entry("deliver", CONFIRMED, 7, subscription="billing", attempt=3, digest="a"),
        _entry("complete", CONFIRMED, 8, subscription="billing", status="completed", said="200"),
        _entry("complete", CONFIRMED, 9, subscription="billing", status="completed", said="200"),
        # Cancelled, and a late confirm refused.
        _entry("prepare", CANCELLED, 0, status="pending_confirmation", said="201", digest="b"),
        _entry("cancel", CANCELLED, 1, status="rolled_back", said="200"),
        _entry("confirm", CANCELLED, 2, REFUSED, said="409"),
        # Its confirm was lost on the way; a check settled it; then it was refused by its consumer.
        _entry("prepare", CHECKED, 0, status="pending_confirmation", said="201", digest="c"),
        _entry("check", CHECKED, 1, said="unknown"),
        _entry("check", CHECKED, 2, said="committed"),
        _entry("deliver", CHECKED, 3, subscription="billing", attempt=1, digest="c"),
        _entry("fail", CHECKED, 4, subscription="billing", status="failed", said="200"),
        # Published, to two subscriptions.
        _entry("publish", PUBLISHED, 0, status="pending_send", said="201", digest="d"),
        _entry("deliver", PUBLISHED, 1, subscription="billing", attempt=1, digest="d"),
        _entry("deliver", PUBLISHED, 1, subscription="stock", attempt=1, digest="d"),
        _entry("complete", PUBLISHED, 2, subscription="stock", status="sent", said="200"),
        _entry("complete", PUBLISHED, 3, subscription="billing", status="completed", said="200"),
        # Never acknowledged, never stored.
        _entry("prepare", "lost", 0, UNKNOWN, digest="e"),
        _entry("read", "lost", 1, REFUSED, said="404"),
    ]
    finals = {
        CONFIRMED: Final("completed", "a", {"billing": "completed"}),
        CANCELLED: Final("rolled_back", "b", {}),
        CHECKED: Final("failed", "c", {"billing": "failed"}),
        PUBLISHED: Final("completed", "d", {"billing": "completed", "stock": "completed"}),
    }
    return entries, finals


def _add(*more: Entry) -> Plant:
    return lambda entries, finals: entries.extend(more)


def _end(message_id: str, **changes: object) -> Plant:
    def plant(entries: list[Entry], finals: Finals) -> None:
        finals[message_id] = replace(finals[message_id], **changes)  # type: ignore[arg-type]

    return plant


def _lose(message_id: str) -> Plant:
    def plant(entries: list[Entry], finals: Finals) -> None:
        del finals[message_id]

    return plant


def _change(verb: str, message_id: str, **changes: object) -> Plant:
    """The last entry of that verb is another."""

    def plant(entries: list[Entry], finals: Finals) -> None:
        index = max(n for n, each in enumerate(entries) if (each.verb, each.message_id) == (verb, message_id))
        entries[index] = replace(entries[index], **changes)  # type: ignore[arg-type]

    return plant


def _without(message_id: str, *verbs: str) -> Plant:
    def plant(entries: list[Entry], finals: Finals) -> None:
        entries[:] = [each for each in entries if each.message_id != message_id or each.verb not in verbs]

    return plant


PLANTED: list[tuple[str, Plant]] = [
    ("acknowledged_prepares_stay", _lose(CONFIRMED)),
    ("acknowledged_prepares_stay", _lose(PUBLISHED)),
    ("acknowledged_prepares_stay", _add(_entry("read", CANCELLED, 5, REFUSED, said="404"))),
    ("acknowledged_prepares_stay", _add(_entry("confirm", CHECKED, 5, REFUSED, said="404"))),
    ("prepares_are_stored_once", _add(_entry("prepare", CANCELLED, 9, said="201", digest="b"))),
    ("nothing_appears_from_nowhere", _without(CHECKED, "prepare")),
    ("nothing_appears_from_nowhere", lambda entries, finals: finals.update(ghost=Final("completed", None, {}))),
    ("acknowledged_confirms_stay", _end(CONFIRMED, status="rolled_back")),
    ("acknowledged_confirms_stay", _end(CONFIRMED, status="undecided")),
    ("acknowledged_confirms_stay", _end(PUBLISHED, status="pending_confirmation")),
    ("acknowledged_confirms_stay", _change("confirm", CANCELLED, outcome=OK, said="200")),
    ("only_committed_messages_are_delivered", _change("check", CHECKED, said="unknown")),
    ("only_committed_messages_are_delivered", _change("check", CHECKED, began=3.6, ended=3.7)),
    ("only_committed_messages_are_delivered", _without(CONFIRMED, "confirm")),
    ("only_committed_messages_are_delivered", _change("confirm", CONFIRMED, outcome=REFUSED)),
    ("cancelled_messages_are_never_delivered", _add(_entry("deliver", CANCELLED, 9, attempt=1, digest="b"))),
    ("cancelled_messages_are_never_delivered", _end(CANCELLED, status="completed")),
    ("rollbacks_have_a_reason", _without(CANCELLED, "cancel")),
    ("statuses_only_go_forward", _add(_entry("read", CONFIRMED, 20, status="sent", said="200"))),
    ("statuses_only_go_forward", _add(_entry("read", CANCELLED, 20, status="pending_send", said="200"))),
    ("statuses_only_go_forward", _add(_entry("read", CHECKED, 20, status="completed", said="200"))),
    ("statuses_only_go_forward", _add(_entry("read", PUBLISHED, 1.1, status="pending_confirmation", said="200"))),
    ("statuses_only_go_forward", _add(_entry("read", CHECKED, 1, status="sending", said="200"))),
    ("statuses_only_go_forward", _end(CHECKED, status="completed")),
    ("reports_stay", _end(CONFIRMED, deliveries={"billing": "sent"})),
    ("reports_stay", _end(PUBLISHED, deliveries={"billing": "completed", "stock": "failed"})),
    ("reports_stay", _end(CHECKED, deliveries={"billing": "completed"})),
    ("reports_stay", _add(_entry("deliver", CONFIRMED, 20, subscription="billing", attempt=9, digest="a"))),
    ("settled_deliveries_were_reported", _without(CHECKED, "fail")),
    ("settled_deliveries_were_reported", _change("complete", PUBLISHED, outcome=REFUSED)),
    ("every_message_settles", _end(CONFIRMED, status="sent")),
    ("every_message_settles", _end(CHECKED, status="undelivered")),
    ("every_message_settles", _end(CANCELLED, status="undecided")),
    ("payloads_are_the_same_bytes", _change("deliver", CONFIRMED, digest="other")),
    ("payloads_are_the_same_bytes", _end(PUBLISHED, digest="other")),
    ("attempts_are_held_once_and_counted", _change("deliver", CONFIRMED, attempt=1)),
    (
        "attempts_are_held_once_and_counted",
        _add(_entry("deliver", PUBLISHED, 1.7, subscription="stock", attempt=0, digest="d")),
    ),
]


def test_a_good_history_has_no_faults() -> None:
    assert find_faults(*_good()) == []


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=[f"{n} {rule}" for n, (rule, _) in enumerate(PLANTED)])
def test_a_planted_fault_is_found(rule: str, plant: Plant) -> None:
    entries, finals = _good()

    plant(entries, finals)

    assert rule in {each.rule for each in find_faults(entries, finals)}


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule for rule, _ in PLANTED} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    "plant",
    [
        _change("confirm", CONFIRMED, outcome=UNKNOWN, status=None),
        _change("cancel", CANCELLED, outcome=UNKNOWN, status=None),
        _change("prepare", CONFIRMED, outcome=UNKNOWN, status=None),
        _change("complete", CONFIRMED, outcome=UNKNOWN, status=None),
        _add(_entry("cancel", CHECKED, 2, UNKNOWN)),
        _add(_entry("confirm", CANCELLED, 2, UNKNOWN)),
        # At the same time as the complete: either may have been first.
        _add(_entry("read", CONFIRMED, 8.2, status="sent", said="200")),
    ],
)
def test_what_may_have_been_either_way_is_no_fault(plant: Plant) -> None:
    entries, finals = _good()

    plant(entries, finals)

    assert find_faults(entries, finals) == []
