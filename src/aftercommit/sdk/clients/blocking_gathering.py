"""Natural batching of threads: whoever waits may be woken to send for all; there is no thread of its own."""

import os
import threading
from collections.abc import Callable
from typing import Final

from aftercommit.sdk.clients.gathering import OVERTAKE_SECONDS, Gathering, Parcel, Part
from aftercommit.sdk.clients.loads import VERBS

Carry = Callable[[Parcel], None]
Late = Callable[[Part, bool], Exception]


class BlockingGatherings:
    """One gathering a verb, for any number of threads. A process that forked starts with none under way."""

    def __init__(self, carry: Carry, late: Late, clock: Callable[[], float]) -> None:
        self._ports = (carry, late, clock)
        self._by_verb = self._new()
        self._process = os.getpid()

    async def gather(self, part: Part) -> None:
        """Bring a part to its verdict; blocks. Raises when its time is up first."""
        if self._process != os.getpid():
            # The threads these wait for are the parent's, and so may be their locks.
            self._by_verb, self._process = self._new(), os.getpid()
        self._by_verb[part.load.verb].run(part)

    def _new(self) -> "dict[str, BlockingGathering]":
        return {verb: BlockingGathering(*self._ports) for verb in VERBS}


class BlockingGathering:
    """The gathering of one verb."""

    def __init__(self, carry: Carry, late: Late, clock: Callable[[], float]) -> None:
        self._carry = carry
        self._late = late
        self._clock = clock
        self._core = Gathering()
        self._lock = threading.Lock()
        # Who is to send which parcel, and how to wake who waits: an entry for each caller inside `run`.
        self._seats: dict[Part, _Seat] = {}

    def run(self, part: Part) -> None:
        """Send, or wait for whoever sends; comes back with the verdict on the part."""
        seat = _Seat()
        try:
            with self._lock:
                self._seats[part] = seat
                self._hand_out(self._core.join(part))
            while part.verdict is None:
                if seat.parcel is not None:
                    self._lead(seat.parcel)
                elif not seat.bell.acquire(timeout=self._seconds_to_wait(part)):
                    self._lose_patience(part, seat)
        finally:
            # Also where a signal handler or the transport raised: who counts on this caller must not wait for ever.
            self._rise(part)

    def _lead(self, parcel: Parcel) -> None:
        self._carry(parcel)
        with self._lock:
            for part in parcel.parts:
                if seat := self._seats.get(part):
                    seat.parcel = None
                    seat.ring()
            self._hand_out(self._core.returned())

    def _lose_patience(self, part: Part, seat: "_Seat") -> None:
        with self._lock:
            if part.verdict is not None or seat.parcel is not None:
                return
            if self._clock() >= part.deadline:
                raise self._late(part, self._core.leave(part))
            if part.is_waiting:
                self._hand_out(self._core.overtake())

    def _rise(self, part: Part) -> None:
        with self._lock:
            seat = self._seats.pop(part, None)
            if seat is not None and seat.parcel is not None:
                self._hand_out(self._core.forsaken(seat.parcel, part))
            elif part.verdict is None:
                self._core.leave(part)

    def _hand_out(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            # Who has the most time left sends, so that the request has as much as anybody in it.
            leader = max(parcel.parts, key=_deadline)
            self._seats[leader].parcel = parcel
            self._seats[leader].ring()

    def _seconds_to_wait(self, part: Part) -> float:
        return min(max(part.deadline - self._clock(), 0), OVERTAKE_SECONDS)


class _Seat:
    """Where one caller waits: the parcel it is to send, once that is so, and what wakes it."""

    __slots__ = ("bell", "parcel")

    def __init__(self) -> None:
        self.parcel: Parcel | None = None
        # A bare lock is the cheapest thing a thread can sleep on. It is free when the bell has been rung.
        self.bell: Final = threading.Lock()
        self.bell.acquire()

    def ring(self) -> None:
        """Wake who waits. Called with the gathering's lock held, so that nobody rings at the same time."""
        if self.bell.locked():
            self.bell.release()


def _deadline(part: Part) -> float:
    return part.deadline
