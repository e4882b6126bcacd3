"""An independent judge: what actors did and heard, held against what the protocol promises.

It knows the protocol's table and nothing of the service's code. An operation whose answer never came is `UNKNOWN`: it
may have had its effect or not, and excuses either. Ids are unique, so every rule looks at one message at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What an actor heard."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing somebody did to one message, from the moment it began to the moment it ended.

    `verb`: prepare, publish (a prepare that is confirmed), confirm, cancel, complete, fail, deliver (a pull that
    brought the message), read, or check (the initiator was asked and answered `said`). `status` is the message's
    status that was heard, `said` whatever else was: the HTTP status, or the outcome of a check.
    """

    verb: str
    message_id: str
    began: float
    ended: float
    outcome: Outcome
    status: str | None = None
    said: str | None = None
    subscription: str | None = None
    attempt: int | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """A message after everything came to rest. `deliveries`: subscription -> status."""

    status: str
    digest: str | None
    deliveries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken promise."""

    rule: str
    message_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Life:
    """Everything about one message, in the order it began."""

    message_id: str
    entries: tuple[Entry, ...]
    final: Final | None

    def of(self, *verbs: str) -> list[Entry]:
        """The entries of these verbs."""
        return [each for each in self.entries if each.verb in verbs]

    def acknowledged(self, *verbs: str) -> list[Entry]:
        """Those of them that were answered with success."""
        return [each for each in self.of(*verbs) if each.outcome is Outcome.OK]

    def maybe(self, *verbs: str) -> list[Entry]:
        """Those of them that may have had their effect."""
        return [each for each in self.of(*verbs) if each.outcome is not Outcome.REFUSED]


Rule = Callable[[Life], Iterator[str]]

TERMINAL = frozenset({"completed", "failed", "rolled_back"})
UNCONFIRMED = frozenset({"pending_confirmation", "undecided"})
_DELIVERED = {"undelivered", "failed", "completed"}
# From each status to all that may be seen later, where no operator acts.
LATER: Mapping[str, frozenset[str]] = {
    "pending_confirmation": frozenset(
        {"pending_confirmation", "undecided", "rolled_back", "pending_send", "sent", *_DELIVERED}
    ),
    "undecided": frozenset({"undecided", "rolled_back", "pending_send", "sent", *_DELIVERED}),
    "pending_send": frozenset({"pending_send", "sent", *_DELIVERED}),
    "sent": frozenset({"sent", *_DELIVERED}),
    "undelivered": frozenset(_DELIVERED),
    **{status: frozenset({status}) for status in TERMINAL},
}


def find_faults(entries: Iterable[Entry], finals: Mapping[str, Final]) -> list[Fault]:
    """Every promise that was broken."""
    by_message: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_message[entry.message_id].append(entry)
    faults = []
    for message_id in sorted(by_message.keys() | finals.keys()):
        ordered = tuple(sorted(by_message[message_id], key=lambda each: (each.began, each.ended)))
        life = Life(message_id, ordered, finals.get(message_id))
        faults += [Fault(rule.__name__, message_id, detail) for rule in RULES for detail in rule(life)]
    return faults


def acknowledged_prepares_stay(life: Life) -> Iterator[str]:
    """A prepare that was acknowledged is never lost, neither at the end nor in between."""
    prepared = life.acknowledged("prepare", "publish")
    if not prepared:
        return
    if life.final is None:
        yield "it was acknowledged and is gone."
    since = min(each.ended for each in prepared)
    for each in life.of("read", "confirm", "complete", "fail"):
        if each.said == "404" and each.began > since:
            yield f"it was acknowledged, and {each.verb} said 404 later."


def prepares_are_stored_once(life: Life) -> Iterator[str]:
    """Of all repeats of a prepare, one is told that it made the message."""
    made = [each for each in life.acknowledged("prepare", "publish") if each.said == "201"]
    if len(made) > 1:
        yield f"{len(made)} prepares were told that they made it."


def nothing_appears_from_nowhere(life: Life) -> Iterator[str]:
    """Every stored message was prepared, or is the tombstone of a cancel."""
    if life.final is not None and not life.maybe("prepare", "publish", "cancel"):
        yield f"nobody prepared it, and it is {life.final.status}."


def acknowledged_confirms_stay(life: Life) -> Iterator[str]:
    """A confirm that was acknowledged is never taken back."""
    if not life.acknowledged("confirm", "publish"):
        return
    if life.final is not None and life.final.status in UNCONFIRMED | {"rolled_back"}:
        yield f"it was confirmed and is {life.final.status}."
    if life.acknowledged("cancel"):
        yield "confirm and cancel were both acknowledged."


def only_committed_messages_are_delivered(life: Life) -> Iterator[str]:
    """Nothing is delivered before somebody confirmed it, or said in a check that it committed."""
    evidence = [each.began for each in life.maybe("confirm", "publish")]
    evidence += [each.began for each in life.maybe("check") if each.said == "committed"]
    for each in life.acknowledged("deliver"):
        if not any(began < each.ended for began in evidence):
            yield f"attempt {each.attempt} was delivered, and nobody had confirmed it."


def cancelled_messages_are_never_delivered(life: Life) -> Iterator[str]:
    """A cancel that was acknowledged is final."""
    if not life.acknowledged("cancel"):
        return
    if life.acknowledged("deliver"):
        yield "it was cancelled and delivered."
    if life.final is not None and life.final.status != "rolled_back":
        yield f"it was cancelled and is {life.final.status}."


def rollbacks_have_a_reason(life: Life) -> Iterator[str]:
    """Nothing is rolled back unless somebody cancelled it, or said in a check that it rolled back."""
    if life.final is None or life.final.status != "rolled_back":
        return
    said_so = [each for each in life.of("check") if each.said == "rolled_back"]
    if not life.maybe("cancel") and not said_so:
        yield "it is rolled back, and nobody said so."


def statuses_only_go_forward(life: Life) -> Iterator[str]:
    """What is heard later, by whomever, is never an earlier status; and every status is one of the table."""
    heard = [each for each in life.entries if each.status is not None]
    for each in heard:
        if each.status not in LATER:
            yield f"{each.verb} said {each.status!r}, which is no status."
            return
    # Only what began after the other had ended is later; the ends are walked in their order beside the beginnings.
    by_end = sorted(heard, key=lambda each: each.ended)
    seen: set[str] = set()
    position = 0
    for each in heard:
        while position < len(by_end) and by_end[position].ended < each.began:
            seen.add(by_end[position].status or "")
            position += 1
        for before in seen:
            if each.status not in LATER[before]:
                yield f"{each.verb} said {each.status} after it had been {before}."
    if life.final is not None:
        for before in {each.status or "" for each in heard}:
            if life.final.status not in LATER[before]:
                yield f"it is {life.final.status} after it had been {before}."


def reports_stay(life: Life) -> Iterator[str]:
    """A complete or fail that was acknowledged is the end of that delivery."""
    for verb, status in (("complete", "completed"), ("fail", "failed")):
        for each in life.acknowledged(verb):
            settled = None if life.final is None else life.final.deliveries.get(each.subscription or "")
            if settled != status:
                yield f"{verb} of {each.subscription} was acknowledged, and it is {settled}."
            again = [
                other
                for other in life.acknowledged("deliver")
                if other.subscription == each.subscription and other.began > each.ended
            ]
            if again:
                yield f"{each.subscription} was delivered to after {verb} was acknowledged."


def settled_deliveries_were_reported(life: Life) -> Iterator[str]:
    """No delivery is completed or failed unless somebody reported it so."""
    if life.final is None:
        return
    for verb, status in (("complete", "completed"), ("fail", "failed")):
        reported = {each.subscription for each in life.maybe(verb)}
        for subscription, settled in life.final.deliveries.items():
            if settled == status and subscription not in reported:
                yield f"{subscription} is {status}, and nobody reported it."


def every_message_settles(life: Life) -> Iterator[str]:
    """Once everything came to rest, nothing is live and nothing is parked."""
    if life.final is not None and life.final.status not in TERMINAL:
        yield f"it is still {life.final.status}."


def payloads_are_the_same_bytes(life: Life) -> Iterator[str]:
    """What is delivered and kept is what was prepared."""
    given = {each.digest for each in life.of("prepare", "publish")}
    for each in life.acknowledged("deliver"):
        if each.digest not in given:
            yield f"attempt {each.attempt} brought other bytes."
    if life.final is not None and life.final.digest is not None and life.final.digest not in given:
        yield "other bytes are kept."


def attempts_are_held_once_and_counted(life: Life) -> Iterator[str]:
    """Two pulls never bring the same attempt, and a later pull brings a later attempt."""
    by_subscription: dict[str | None, list[Entry]] = defaultdict(list)
    for each in life.acknowledged("deliver"):
        by_subscription[each.subscription].append(each)
    for subscription, deliveries in by_subscription.items():
        numbers = [each.attempt or 0 for each in deliveries]
        if len(set(numbers)) < len(numbers):
            yield f"{subscription} held the same attempt twice: {numbers}."
        for earlier in deliveries:
            for later in deliveries:
                if earlier.ended < later.began and (earlier.attempt or 0) > (later.attempt or 0):
                    yield f"{subscription} heard attempt {later.attempt} after {earlier.attempt}."


RULES: tuple[Rule, ...] = (
    acknowledged_prepares_stay,
    prepares_are_stored_once,
    nothing_appears_from_nowhere,
    acknowledged_confirms_stay,
    only_committed_messages_are_delivered,
    cancelled_messages_are_never_delivered,
    rollbacks_have_a_reason,
    statuses_only_go_forward,
    reports_stay,
    settled_deliveries_were_reported,
    every_message_settles,
    payloads_are_the_same_bytes,
    attempts_are_held_once_and_counted,
)
