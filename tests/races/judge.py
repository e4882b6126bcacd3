"""An independent judge of races: what everybody did and heard, held against what is in the database in the end.

It knows what the barrier promises and nothing of how. A message's row in the business table is the truth: the row is
there if, and only if, its local transaction committed. Whatever was never heard excuses either.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

COMMITTED, ROLLED_BACK, UNKNOWN = "committed", "rolled_back", "unknown"
PENDING, CONFIRMED = "pending", "confirmed"

# What a run's caller was told, and what that means for its rows.
_WITH_ROWS: Final = frozenset({"committed"})
_WITHOUT_ROWS: Final = frozenset({"already_done", "ruled_out", "not_prepared", "ended", "raised", "refused"})
_EITHER: Final = frozenset({"uncertain"})


@dataclass(frozen=True, slots=True)
class Row:
    """An effect: what one run of one unit wrote for one message."""

    message_id: str
    unit: str
    run: str


@dataclass(frozen=True, slots=True)
class Run:
    """One local transaction. `published`: its messages; `undone`: those of them that a savepoint took back.

    `said`: what its caller was told; None if its process died before. `uncertain` is the only answer, beside none,
    after which there may be rows or not.
    """

    run: str
    unit: str
    began: float
    ended: float | None = None
    said: str | None = None
    published: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """The messages that follow its commit."""
        return frozenset(self.published) - frozenset(self.undone)


@dataclass(frozen=True, slots=True)
class Checked:
    """One check of one message, from the question to the answer; `said` is None if the checker died over it."""

    message_id: str
    began: float
    ended: float | None
    said: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """What an initiator told the service of a message; whether it arrived and was answered does not matter."""

    verb: str
    message_id: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything after the end. `statuses`: the service's. `markers`: the outcome table; None if there is none."""

    runs: Sequence[Run]
    checks: Sequence[Checked]
    told: Sequence[Told]
    rows: Sequence[Row]
    markers: Mapping[str, str] | None
    statuses: Mapping[str, str]
    with_row: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "with_row", frozenset(row.message_id for row in self.rows))


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A broken promise about a message, a run or a unit."""

    rule: str
    subject: str
    detail: str


Rule = Callable[[Evidence], Iterator[tuple[str, str]]]


def find_contradictions(evidence: Evidence) -> list[Contradiction]:
    """All of them, by all rules."""
    return [Contradiction(rule.__name__, subject, detail) for rule in RULES for subject, detail in rule(evidence)]


def markers_and_rows_agree(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Every committed marker has its row, and every row its committed marker."""
    if evidence.markers is None:
        return
    committed = {each for each, outcome in evidence.markers.items() if outcome == COMMITTED}
    for message_id in committed ^ evidence.with_row:
        yield message_id, f"its marker is {evidence.markers.get(message_id)} and it has {_rows(evidence, message_id)}"


def checks_tell_the_truth(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """A check that said committed has a row, and one that said rolled back never has, not even later."""
    for each in evidence.checks:
        if each.said in (COMMITTED, ROLLED_BACK) and (each.said == COMMITTED) != (each.message_id in evidence.with_row):
            yield each.message_id, f"a check said {each.said} and it has {_rows(evidence, each.message_id)}"


def checks_never_change_their_mind(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What a check said for good is said by every other, and by every one that began later for good or not."""
    said = defaultdict(list)
    for each in evidence.checks:
        if each.said in (COMMITTED, ROLLED_BACK):
            said[each.message_id].append(each.said)
    for message_id, answers in said.items():
        if len(set(answers)) > 1:
            yield message_id, f"checks said {answers}"


def the_service_settles_what_happened(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Confirmed at the service if there is a row, rolled back if there is none."""
    for message_id, status in evidence.statuses.items():
        if status in (CONFIRMED, ROLLED_BACK) and (status == CONFIRMED) != (message_id in evidence.with_row):
            yield message_id, f"the service has it {status} and it has {_rows(evidence, message_id)}"


def everything_settles(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Once all came to rest, nothing is undecided."""
    for message_id, status in evidence.statuses.items():
        if status not in (CONFIRMED, ROLLED_BACK):
            yield message_id, f"the service still has it {status}"


def what_is_written_was_prepared(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """No transaction commits with a message that the service does not know."""
    for message_id in evidence.with_row - evidence.statuses.keys():
        yield message_id, "it has a row and the service never heard of it"


def initiators_only_tell_the_truth(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Nobody confirms what has no row or cancels what has one, whatever becomes of the call."""
    for each in evidence.told:
        has_row = each.message_id in evidence.with_row
        if (each.verb == "confirm" and not has_row) or (each.verb == "cancel" and has_row):
            yield each.message_id, f"the service was told {each.verb} and it has {_rows(evidence, each.message_id)}"


def what_the_service_acknowledged_stays(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """An answer of the service is its last word."""
    for each in evidence.told:
        if each.answer in (CONFIRMED, ROLLED_BACK) and evidence.statuses.get(each.message_id) != each.answer:
            now = evidence.statuses.get(each.message_id)
            yield each.message_id, f"{each.verb} was answered {each.answer} and the service has it {now}"


def callers_were_told_the_truth(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """A run said to have committed wrote its rows; one said to have not, none."""
    wrote = Counter(row.run for row in evidence.rows)
    for each in evidence.runs:
        if each.said in _WITH_ROWS and not wrote[each.run]:
            yield each.run, f"its caller was told {each.said} and nothing of it is there"
        if each.said in _WITHOUT_ROWS and wrote[each.run]:
            yield each.run, f"its caller was told {each.said} and {wrote[each.run]} rows of it are there"
        if each.said is not None and each.said not in _WITH_ROWS | _WITHOUT_ROWS | _EITHER:
            yield each.run, f"its caller was told {each.said}, which nothing promises"


def runs_are_whole(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """A run that committed wrote one row for each message it kept, and none for another."""
    rows: dict[str, list[str]] = defaultdict(list)
    for row in evidence.rows:
        rows[row.run].append(row.message_id)
    runs = {each.run: each for each in evidence.runs}
    for run, message_ids in rows.items():
        if run not in runs or sorted(runs[run].kept) != sorted(message_ids):
            yield run, f"it kept {sorted(runs[run].kept) if run in runs else None} and wrote {sorted(message_ids)}"


def effects_come_once(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """However often a unit is run, at most one run of it takes effect."""
    runs: dict[str, set[str]] = defaultdict(set)
    for row in evidence.rows:
        runs[row.unit].add(row.run)
    for unit, by in runs.items():
        if len(by) > 1:
            yield unit, f"{len(by)} of its runs took effect: {sorted(by)}"


def already_done_was_done(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """A run told that its unit was done before has a run before it that did it."""
    began = {each.run: each.began for each in evidence.runs}
    first: dict[str, float] = {}
    for row in evidence.rows:
        first[row.unit] = min(first.get(row.unit, float("inf")), began.get(row.run, float("inf")))
    for each in evidence.runs:
        if each.said == "already_done" and not first.get(each.unit, float("inf")) < each.began:
            yield each.run, "its caller was told that an earlier run had committed, and none did"


RULES: tuple[Rule, ...] = (
    markers_and_rows_agree,
    checks_tell_the_truth,
    checks_never_change_their_mind,
    the_service_settles_what_happened,
    everything_settles,
    what_is_written_was_prepared,
    initiators_only_tell_the_truth,
    what_the_service_acknowledged_stays,
    callers_were_told_the_truth,
    runs_are_whole,
    effects_come_once,
    already_done_was_done,
)


def _rows(evidence: Evidence, message_id: str) -> str:
    count = sum(row.message_id == message_id for row in evidence.rows)
    return f"{count} rows" if count else "no row"
