"""One call with its repeats, without I/O: what to send, and what to do with what came of it.

exchange = line.begin(call)
while True:
    send exchange.request(), and hand what comes to exchange.next(); it says Wait, says Done, or raises.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

from aftercommit import __version__
from aftercommit.sdk.clients.answers import Response, read
from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.errors import AfterCommitClientError, Unavailable, Unreachable

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8340"
TIMEOUT_SECONDS = 10.0
RETRIES_MAX = 5
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_GATEWAY_STATUSES = frozenset({408, 502, 504})


@dataclass(frozen=True, slots=True)
class Request:
    """What a transport is to send. An answer may take `timeout_seconds`."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_seconds: float


class NoAnswer(Exception):
    """What a transport raises. `perhaps_received` is False only if no byte of the request can have arrived."""

    def __init__(self, why: str, *, perhaps_received: bool) -> None:
        super().__init__(why)
        self.why = why
        self.perhaps_received = perhaps_received


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait, then send the same request again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The answer."""

    answer: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How calls of one client are made: where to, as whom, and how patiently. Raises ValueError if that is wrong.

    `clock` (monotonic seconds) and `chance` (a number in [0, 1)) are there for tests to replace.
    """

    base_url: str = DEFAULT_URL
    app: str | None = None
    key: str | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    retries_max: int = RETRIES_MAX
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("The address must not hold a user or a password; give the key as `key`.")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{self.base_url!r} is not an address like {DEFAULT_URL}.")
        if not self.base_url.isprintable() or " " in self.base_url or not _has_port_that_can_be(parts):
            raise ValueError(f"{self.base_url!r} holds a blank, or a port there cannot be.")
        for name, value in (("app", self.app), ("key", self.key)):
            if value is not None and not (value.isascii() and value.isprintable() and value.strip()):
                raise ValueError(f"The {name} must be printable ASCII.")
        if self.timeout_seconds <= 0 or self.retries_max < 0:
            raise ValueError("timeout_seconds must be over 0, and retries_max not under 0.")

    def begin(self, call: Call[T], retries_max: int | None = None, deadline: float | None = None) -> "Exchange[T]":
        """Start a call. Its time runs from here, unless it has a deadline already."""
        if deadline is None:
            deadline = self.deadline(call.wait_seconds)
        return Exchange(self, call, Patience(self, self.retries_max if retries_max is None else retries_max, deadline))

    def deadline(self, wait_seconds: float = 0) -> float:
        """Until when a call that begins now may take, by this line's clock."""
        return self.clock() + self.timeout_seconds + wait_seconds

    def unreachable(self, call: Call[Any], failure: NoAnswer) -> Unreachable:
        """The error of a call that got no answer."""
        repeatable = call.repeatable or not failure.perhaps_received
        advice = "It is safe to repeat." if repeatable else "It may have been received: look before repeating it."
        return Unreachable(
            f"No answer to {call.method} {call.path} from {self.base_url}: {failure.why}. {advice}",
            perhaps_received=failure.perhaps_received,
            repeatable=repeatable,
        ).at(call.step)

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"user-agent": f"aftercommit-python/{__version__}", "accept": "application/json"}
        if self.app is not None:
            headers["aftercommit-app"] = self.app
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        return headers


def _has_port_that_can_be(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


class Patience:
    """How often, and until when, something is tried again."""

    def __init__(self, line: Line, retries_max: int, deadline: float) -> None:
        self.deadline = deadline
        self._line = line
        self._retries_left = retries_max
        self._pauses = 0

    def pause(self, error: AfterCommitClientError, *, may_repeat: bool = True) -> float:
        """How many seconds to wait before the next attempt. Raises `error` if there is none."""
        seconds = self._next_pause(error.retry_after_seconds if isinstance(error, Unavailable) else None)
        if not may_repeat or self._retries_left == 0 or self._line.clock() + seconds >= self.deadline:
            raise error
        self._retries_left -= 1
        self._pauses += 1
        return seconds

    def _next_pause(self, asked_seconds: float | None) -> float:
        """Doubling, from half to all of it by chance; never earlier than the service asked for, and then spread."""
        longest = min(_FIRST_PAUSE_SECONDS * 2.0**self._pauses, _LONGEST_PAUSE_SECONDS)
        pause: float = longest * (0.5 + 0.5 * self._line.chance())
        return pause if asked_seconds is None else max(pause, asked_seconds * (1 + 0.2 * self._line.chance()))


class Exchange(Generic[T]):
    """One call under way. Repeats are the same bytes, so the same id; they end when the time or their number does."""

    def __init__(self, line: Line, call: Call[T], patience: Patience) -> None:
        self._line = line
        self._call = call
        self._patience = patience

    def request(self) -> Request:
        """What to send now."""
        return Request(
            method=self._call.method,
            url=self._line.base_url.rstrip("/") + self._call.path,
            headers={**self._line.headers(), **self._call.headers},
            body=self._call.body,
            timeout_seconds=max(self._patience.deadline - self._line.clock(), 0.001),
        )

    def next(self, outcome: Response | NoAnswer) -> Wait | Done[T]:
        """What to do after `outcome`. Raises the call's error when there is nothing left to do."""
        if isinstance(outcome, NoAnswer):
            error = self._line.unreachable(self._call, outcome)
            return Wait(self._patience.pause(error, may_repeat=error.repeatable))
        try:
            return Done(read(self._call, outcome))
        except Unavailable as refusal:
            # The service changed nothing when it says so itself; what a gateway knows is less.
            sure = refusal.status not in _GATEWAY_STATUSES
            return Wait(self._patience.pause(refusal, may_repeat=sure or self._call.repeatable))
