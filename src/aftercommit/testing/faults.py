"""What goes wrong on purpose: a process that dies at a named point, answers that are lost, a service out of reach."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.transactions.points import Point

CRASH_POINTS: Final = tuple(Point)
VERBS: Final = ("prepare", "confirm", "cancel", "complete", "fail", "status", "pull", "pull_checks", "answer_checks")


class Crashed(BaseException):
    """The process died here, as far as the test is concerned. Like a death, it passes every `except Exception`.

    with service.crash_at(Point.AFTER_PREPARE):
        try:
            pay(42)
        except Crashed as death:
            assert death.point is Point.AFTER_PREPARE
            raise
    """

    def __init__(self, point: Point) -> None:
        super().__init__(f"The process died at {point}, as the test wanted.")
        self.point = point


class LostAnswers:
    """Counts in `lost` how many answers were lost so far.

    with service.lose_answers("confirm", times=1) as answers:
        pay(42)
    assert answers.lost == 1
    """

    def __init__(self, verb: str | None, times: int | None) -> None:
        self._verb = verb
        self._left = times
        self.lost = 0

    def take(self, verb: str) -> bool:
        """Whether the answer to this request is lost."""
        if self._left == 0 or self._verb not in (None, verb):
            return False
        self._left = None if self._left is None else self._left - 1
        self.lost += 1
        return True


class Faults:
    """What the clients of one in-memory service suffer at present. With none, everything arrives and is answered."""

    def __init__(self) -> None:
        self._crashes: list[Crash] = []
        self._lost: list[LostAnswers] = []
        self._unreachable = 0

    @property
    def process_is_dead(self) -> bool:
        """Whether the process that uses the clients died and was not started again."""
        return any(each.happened for each in self._crashes)

    @property
    def present(self) -> bool:
        """Whether any fault lasts."""
        return bool(self._crashes or self._lost or self._unreachable)

    def probe(self, point: Point) -> None:
        """What the SDK calls at each point; raises `Crashed` at the one that was chosen."""
        for each in self._crashes:
            each.pass_point(point)

    def before(self, request: Request) -> None:
        """Raises NoAnswer if the request does not arrive."""
        if self.process_is_dead:
            raise NoAnswer("this process is dead, as the test wanted", perhaps_received=False)
        if self._unreachable:
            raise NoAnswer("the service is out of reach, as the test wanted", perhaps_received=False)

    def after(self, request: Request) -> None:
        """Raises NoAnswer if the answer does not arrive."""
        verb = verb_of(request)
        if self.process_is_dead or any(each.take(verb) for each in self._lost):
            raise NoAnswer("the answer was lost, as the test wanted", perhaps_received=True)

    @contextmanager
    def losing_answers(self, verb: str | None, times: int | None) -> Iterator[LostAnswers]:
        """Requests have their effect; the answers to `verb` (default: to all) are lost, at most `times` of them."""
        if verb is not None and verb not in VERBS:
            raise ValueError(f"{verb!r} is no verb of a client; these are: {', '.join(VERBS)}.")
        lost = LostAnswers(verb, times)
        self._lost.append(lost)
        try:
            yield lost
        finally:
            self._lost.remove(lost)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """No request arrives."""
        self._unreachable += 1
        try:
            yield
        finally:
            self._unreachable -= 1

    def add(self, crash: "Crash") -> None:
        """Let the process die there."""
        self._crashes.append(crash)

    def remove(self, crash: "Crash") -> None:
        """The process runs again."""
        self._crashes.remove(crash)


class Crash:
    """A `with` block in which the process dies at `point`, if it comes by: `happened` says whether it did.

    Neither the crash leaves the block nor what was raised because of it. What else is raised does, and every
    AssertionError.

        with service.crash_at(Point.AFTER_COMMIT) as crash:
            pay(42)
        assert crash.happened
    """

    def __init__(self, point: Point, faults: Faults) -> None:
        self.point = point
        self.happened = False
        self._faults = faults
        self._crashed: Crashed | None = None

    def pass_point(self, point: Point) -> None:
        """Die, if this is the point, and if it was not done already."""
        if point is self.point and not self.happened:
            self.happened = True
            self._crashed = Crashed(point)
            raise self._crashed

    def __enter__(self) -> Self:
        self._faults.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._faults.remove(self)
        if error is None or self._crashed is None or isinstance(error, AssertionError):
            return False
        return _comes_from(error, self._crashed)


def verb_of(request: Request) -> str:
    """What a request asks for: a verb of the client, single or in a batch, or else its method and path."""
    path = urlsplit(request.url).path
    match path.strip("/").split("/"):
        case ["v1", "messages"] if request.method == "POST":
            return "prepare"
        case ["v1", "messages", _, verb] | ["v1", "batch", verb]:
            return verb
        case ["v1", "topics", _, "subscriptions", _, "pull"]:
            return "pull"
        case ["v1", "apps", _, "checks", "pull"]:
            return "pull_checks"
        case ["v1", "apps", _, "checks"]:
            return "answer_checks"
        case _:
            return f"{request.method} {path}"


def _comes_from(error: BaseException, crashed: Crashed) -> bool:
    """Whether `error` is the crash, was raised because of it or while it passed, or is a group that holds it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is crashed:
            return True
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
    return False
