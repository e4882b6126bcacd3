"""The check-back port: asking an initiator what became of its local transactions."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from aftercommit.domain.catalog import App
from aftercommit.domain.commands import CheckOutcome


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One message whose local transaction is asked about. `check` counts the questions about it, this one included."""

    id: str
    topic: str
    key: str | None
    hint: str | None
    prepared_at: int
    check: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one question. `made`: the request was written, so it counts. `detail` says why it is unknown."""

    id: str
    outcome: CheckOutcome
    made: bool
    detail: str | None = None


class Checkback(Protocol):
    """Asks over some wire."""

    async def ask(self, app: App, questions: Sequence[Question]) -> list[Verdict]:
        """Ask `app` about up to 100 messages in one call; one verdict per question, in order.

        Never raises for what the other side does: everything that is not a definitive, authentic answer in time is
        `unknown`. An application without a check address gives `made=False` for each.
        """

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
