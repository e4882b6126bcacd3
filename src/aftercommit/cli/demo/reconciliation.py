"""Holds the books against each other: pure, by sets of ids, so that two mistakes can never cancel out in a count."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aftercommit.domain.commands import CheckOutcome
from aftercommit.domain.lifecycle import TERMINAL, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the stores say when all is over.

    `planned`: order numbers that were to be placed. `orders`: committed orders, message id to number. `declined`:
    numbers rolled back on purpose. `markers`: the order service's barrier. `effects`: what the stock service did,
    (message id, order number) each time it did it. `inbox`: its inbox. `messages`: what the node has, and its status.
    `ordered`, `taken`: quantities per item, by the orders and missing from the shelves. `incidents`: contradictions
    that a service heard from the node.
    """

    planned: frozenset[int]
    orders: Mapping[str, int]
    declined: frozenset[int]
    markers: Mapping[str, CheckOutcome]
    effects: Sequence[tuple[str, int]]
    inbox: frozenset[str]
    messages: Mapping[str, Status]
    ordered: Mapping[str, int]
    taken: Mapping[str, int]
    incidents: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One question put to the books. `offenders` is empty where they agree."""

    name: str
    meaning: str
    offenders: tuple[str, ...]


def reconcile(books: Books) -> list[Finding]:
    """Every question with its offenders; the books match if there is none."""
    done = Counter(books.effects)
    committed = set(books.orders.items())
    completed = _with_status(books, Status.COMPLETED)
    settled = {message_id for message_id, status in books.messages.items() if status in TERMINAL}
    rolled_back = _with_status(books, Status.ROLLED_BACK)
    ended = set(books.orders.values()) | books.declined
    ruled_out = {message_id for message_id, outcome in books.markers.items() if outcome is CheckOutcome.ROLLED_BACK}
    vouched_for = {message_id for message_id, outcome in books.markers.items() if outcome is CheckOutcome.COMMITTED}
    return [
        _finding("unplaced", "orders without a known end", books.planned - ended),
        _finding("contradictory", "orders both committed and declined", set(books.orders.values()) & books.declined),
        _finding("lost", "committed orders without their effect", _pairs(committed - done.keys())),
        _finding("phantom", "effects without their committed order", _pairs(done.keys() - committed)),
        _finding("repeated", "effects that came more than once", _pairs(e for e, times in done.items() if times > 1)),
        _finding("incomplete", "committed orders whose message is not completed", books.orders.keys() - completed),
        _finding("unfounded", "messages settled otherwise than their order", _unfounded(books, settled, rolled_back)),
        _finding("stuck", "messages that are not settled", _stuck(books, settled)),
        _finding("unruled", "messages rolled back without a marker", rolled_back - ruled_out),
        _finding("unmarked", "orders and commit markers that differ", vouched_for ^ books.orders.keys()),
        _finding("uninboxed", "effects and inbox rows that differ", {message for message, _ in done} ^ books.inbox),
        _finding("shelves", "items of which another quantity is missing than was ordered", _wrong_shelves(books)),
        _finding("incidents", "contradictions heard from the node", books.incidents),
    ]


def _with_status(books: Books, status: Status) -> set[str]:
    return {message_id for message_id, each in books.messages.items() if each is status}


def _unfounded(books: Books, settled: set[str], rolled_back: set[str]) -> set[str]:
    """Messages that were delivered, or refused, although no order committed."""
    return settled - rolled_back - books.orders.keys()


def _stuck(books: Books, settled: set[str]) -> set[str]:
    return {f"{message_id} ({status})" for message_id, status in books.messages.items() if message_id not in settled}


def _wrong_shelves(books: Books) -> set[str]:
    items = books.ordered.keys() | books.taken.keys()
    return {item for item in items if books.ordered.get(item, 0) != books.taken.get(item, 0)}


def _pairs(pairs: Iterable[tuple[str, int]]) -> set[str]:
    return {f"order {number} (message {message_id})" for message_id, number in pairs}


def _finding(name: str, meaning: str, offenders: Iterable[object]) -> Finding:
    return Finding(name, meaning, tuple(sorted(map(str, offenders))))
