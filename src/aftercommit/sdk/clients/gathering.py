"""Natural batching, without I/O: while one request of a verb is under way the others queue, and then go as one.

There is no timer and no delay: a call that finds nothing under way goes at once, by itself. This file knows who goes
with whom and who gets which result; how callers wait, and who sends, is in `blocking_gathering` and `async_gathering`.
"""

import copy
from collections import deque
from enum import Enum, auto
from typing import Any, Final

from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.clients.loads import Load, Room, joined, results_of
from aftercommit.sdk.errors import AfterCommitClientError, Denied, Refused, Unexpected
from aftercommit.wire import BatchAnswer, MessageStatus

# Requests of one verb under way at a time. More would only make each smaller: measured in decision 8.
UNDER_WAY_MAX: Final = 1
# A request that takes longer than this holds up nobody any more: what waits behind it goes.
OVERTAKE_SECONDS: Final = 1.0


class Apart(Enum):
    """The verdict on a part of a request that was refused as a whole: it must be sent again by itself."""

    APART = auto()


class Part:
    """What one caller contributes, until when it waits, and in the end the `verdict` on it."""

    __slots__ = ("deadline", "is_gone", "is_waiting", "load", "verdict")

    def __init__(self, load: Load, deadline: float) -> None:
        self.load = load
        self.deadline = deadline
        self.is_waiting = False
        self.is_gone = False
        self.verdict: list[BatchResult] | Exception | Apart | None = None


class Parcel:
    """Parts that travel in one request."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts

    @property
    def deadline(self) -> float:
        """Until when somebody waits for it."""
        return max(part.deadline for part in self.parts)

    def call(self) -> Call[Any]:
        """The request. A part that goes alone goes as its caller meant it, which may be a single call."""
        first = self.parts[0].load
        if len(self.parts) == 1:
            return first.alone()
        return joined(first.verb, [item for part in self.parts for item in part.load.items])

    def settle(self, call: Call[Any], answer: MessageStatus | BatchAnswer) -> None:
        """Give every part its results. Raises `Unexpected`, and settles nothing, if some are missing."""
        results = results_of(call, answer)
        start = 0
        for part in self.parts:
            end = start + len(part.load.items)
            part.verdict = results[start:end]
            start = end

    def fail(self, error: Exception) -> None:
        """Nothing was done of it."""
        for part in self.parts:
            part.verdict = Apart.APART if len(self.parts) > 1 and _may_be_one_parts_fault(error) else _twin(error)


class Gathering:
    """Who waits and what is under way of one verb. Not safe for threads by itself.

    Every method that returns parcels says what must be sent now, whoever does it; each parcel ends in `returned`,
    `forsaken` or `lost`. A part is under way at once, or after at most one round of others.
    """

    def __init__(self, under_way_max: int = UNDER_WAY_MAX) -> None:
        self._under_way_max = under_way_max
        self._under_way = 0
        self._waiting: deque[Part] = deque()

    @property
    def is_anyone_waiting(self) -> bool:
        """Whether parts queue."""
        return bool(self._waiting)

    def join(self, part: Part) -> list[Parcel]:
        """Take a part in. It goes at once, or waits."""
        part.is_waiting = True
        self._waiting.append(part)
        return self._cut_if_free()

    def leave(self, part: Part) -> bool:
        """Its caller waits no longer. Whether it was still waiting, so that nothing of it was sent."""
        part.is_gone = True
        if not part.is_waiting:
            return False
        part.is_waiting = False
        self._waiting.remove(part)
        return True

    def returned(self) -> list[Parcel]:
        """A parcel was settled."""
        self._under_way -= 1
        return self._cut_if_free()

    def forsaken(self, parcel: Parcel, by: Part) -> list[Parcel]:
        """Who sent it gave up: the others in it are first in the next. Nothing is done twice by doing it again."""
        by.is_gone = True
        left = [part for part in parcel.parts if not part.is_gone]
        for part in left:
            part.is_waiting = True
        self._waiting.extendleft(reversed(left))
        return self.returned()

    def lost(self) -> None:
        """A parcel will never be settled, and this is no time to send another."""
        self._under_way -= 1

    def overtake(self) -> list[Parcel]:
        """What is under way takes too long: everything that waits goes now."""
        return self._cut()

    def _cut_if_free(self) -> list[Parcel]:
        return self._cut() if self._under_way < self._under_way_max else []

    def _cut(self) -> list[Parcel]:
        # All of it, in as many requests as the limits need, so that nobody is left for the round after.
        parcels: list[Parcel] = []
        room = Room()
        while self._waiting:
            part = self._waiting.popleft()
            part.is_waiting = False
            if not parcels or not room.take(part.load.items):
                room = Room()
                room.take(part.load.items)
                parcels.append(Parcel([]))
            parcels[-1].parts.append(part)
        self._under_way += len(parcels)
        return parcels


def _may_be_one_parts_fault(error: Exception) -> bool:
    """Whether each part may fare better alone. A wrong key, or a service that cannot, is the same for all."""
    return isinstance(error, Refused | Unexpected) and not isinstance(error, Denied)


def _twin(error: Exception) -> Exception:
    # Raised by several callers, one object would collect the tracebacks of all.
    if not isinstance(error, AfterCommitClientError):
        return error
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    return twin
