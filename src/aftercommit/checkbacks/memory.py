"""Check-back without a wire, for tests: answers are written down beforehand, questions afterwards."""

from collections.abc import Mapping, Sequence

from aftercommit.checkbacks.answers import unknown
from aftercommit.domain.catalog import App
from aftercommit.domain.commands import CheckOutcome
from aftercommit.ports.checkback import Question, Verdict


class MemoryCheckback:
    """`ports.checkback.Checkback` that answers by id from `answers`, `unknown` for every other id.

    While `reachable` is False no check can be made. `calls` holds each call that was made: the application's name and
    its questions.
    """

    def __init__(self, answers: Mapping[str, CheckOutcome] | None = None) -> None:
        self.answers = dict(answers or {})
        self.calls: list[tuple[str, tuple[Question, ...]]] = []
        self.reachable = True
        self.closed = False

    @property
    def asked(self) -> list[str]:
        """The ids asked about, in order, repeated ones repeated."""
        return [question.id for _, questions in self.calls for question in questions]

    async def ask(self, app: App, questions: Sequence[Question]) -> list[Verdict]:
        """Answer each question as scripted."""
        if app.check_url is None:
            return unknown(questions, "the application has no check address", made=False)
        if self.closed or not self.reachable:
            return unknown(questions, "no connection could be made", made=False)
        self.calls.append((app.name, tuple(questions)))
        return [self._verdict(question.id) for question in questions]

    async def close(self) -> None:
        """Answer no more."""
        self.closed = True

    def _verdict(self, message_id: str) -> Verdict:
        outcome = self.answers.get(message_id, CheckOutcome.UNKNOWN)
        detail = "the initiator answered unknown" if outcome is CheckOutcome.UNKNOWN else None
        return Verdict(id=message_id, outcome=outcome, made=True, detail=detail)
