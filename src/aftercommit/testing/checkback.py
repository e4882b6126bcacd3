"""Check-back inside the process: the service's questions go to the user's own code, as errands."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from aftercommit.domain.catalog import App
from aftercommit.domain.commands import CheckOutcome
from aftercommit.ports.checkback import Question, Verdict
from aftercommit.testing.callers import Dropped, Errands
from aftercommit.wire import Check, rfc3339

# Answers may be `sdk.outcomes.Outcome` or their words.
Answers: TypeAlias = Mapping[str, str]


@runtime_checkable
class CheckSource(Protocol):
    """What knows the outcomes of local transactions: a barrier, or any object like it.

    class Orders:
        def check(self, checks):
            return {each.id: Outcome.COMMITTED for each in checks if each.key == "42"}

    service.answer_checks_with(Orders())
    """

    def check(self, checks: Sequence[Check], /) -> Answers | Awaitable[Answers]:
        """The outcome of each id; one left out is `unknown`."""


CheckFunction: TypeAlias = Callable[[Sequence[Check]], "Answers | Awaitable[Answers]"]


@dataclass(frozen=True, slots=True)
class AnsweredCheck:
    """A check that was asked, and what came of it. `detail` says why it is unknown, `error` what the source raised.

    service.answer_checks_with(lambda checks: {})
    service.client().prepare("orders.created", {"order": 42})
    service.run_checks()
    assert [(each.outcome, each.detail) for each in service.checks] == [("unknown", "the answer leaves it out")]
    """

    app: str
    id: str
    outcome: str
    detail: str | None
    error: Exception | None


class InProcessCheckback:
    """`ports.checkback.Checkback` that asks the user's own code. `is_down` tells whether that process is dead now."""

    def __init__(self, errands: Errands, is_down: Callable[[], bool]) -> None:
        self._errands = errands
        self._is_down = is_down
        self._sources: dict[str, CheckFunction] = {}
        self.asked: list[AnsweredCheck] = []

    def answer_with(self, source: CheckSource | CheckFunction, app: str) -> None:
        """Ask `source` about the messages of `app`. Raises TypeError for what cannot be asked."""
        function = source.check if isinstance(source, CheckSource) else source
        if not callable(function):
            raise TypeError(f"{source!r} cannot answer checks: give a function of checks, or an object with `check`.")
        self._sources[app] = function

    def can_ask(self, app: str) -> bool:
        """Whether somebody answers for the application."""
        return app in self._sources

    async def ask(self, app: App, questions: Sequence[Question]) -> list[Verdict]:
        """Ask the application's source. Whatever it raises, and whatever is no outcome, is `unknown`."""
        source = self._sources.get(app.name)
        if source is None:
            return [_unknown(each, "nobody answers checks of this application", made=False) for each in questions]
        if self._is_down():
            return [_unknown(each, "the process is down", made=False) for each in questions]
        checks = [_check(each) for each in questions]
        error: Exception | None = None
        try:
            answers = await self._errands.send(lambda: source(checks))
            verdicts = [_verdict(each, answers) for each in questions]
        except Dropped as dropped:
            verdicts = [_unknown(each, str(dropped), made=False) for each in questions]
        except Exception as failure:
            error = failure
            verdicts = [_unknown(each, f"the answer raised {failure!r}", made=True) for each in questions]
        self.asked += [AnsweredCheck(app.name, each.id, each.outcome.value, each.detail, error) for each in verdicts]
        return verdicts

    async def close(self) -> None:
        """Ask no more."""
        self._sources.clear()


def _check(question: Question) -> Check:
    return Check(
        id=question.id,
        topic=question.topic,
        key=question.key,
        hint=question.hint,
        prepared_at=rfc3339(question.prepared_at),
        check=question.check,
    )


def _verdict(question: Question, answers: Answers) -> Verdict:
    if question.id not in answers:
        return _unknown(question, "the answer leaves it out", made=True)
    word = answers[question.id]
    if word not in set(CheckOutcome):
        return _unknown(question, f"{word!r} is no outcome", made=True)
    return Verdict(id=question.id, outcome=CheckOutcome(word), made=True)


def _unknown(question: Question, detail: str, *, made: bool) -> Verdict:
    return Verdict(id=question.id, outcome=CheckOutcome.UNKNOWN, made=made, detail=detail)
