"""A service that writes down what it was told, and answers as scripted."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aftercommit import wire
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.errors import AfterCommitClientError, IdConflict, NotFound, RolledBack, Unreachable


class Recorder:
    """`sdk.service.Service` that never suspends, and the batch calls of a client over the same book."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[str, ...]]] = []
        self.prepared: list[wire.PrepareRequest] = []
        self.answers: dict[str, AfterCommitClientError | Callable[[str], BatchResult]] = {}

    @property
    def verbs(self) -> list[str]:
        """What it was told, without the ids."""
        return [verb for verb, _ in self.told]

    def ids(self, verb: str) -> list[str]:
        """The ids it was told with a verb."""
        return [each for told, ids in self.told if told == verb for each in ids]

    async def prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        self.prepared += messages
        return self._answer("prepare", [each.id or "" for each in messages])

    async def confirm(self, message_ids: Sequence[str]) -> list[BatchResult]:
        return self._answer("confirm", message_ids)

    async def cancel(self, message_ids: Sequence[str], reason: str) -> list[BatchResult]:
        assert reason
        return self._answer("cancel", message_ids)

    async def complete(self, items: Sequence[wire.CompleteItem]) -> list[BatchResult]:
        return self._answer("complete", [each.id for each in items])

    async def fail(self, items: Sequence[wire.FailItem]) -> list[BatchResult]:
        return self._answer("fail", [each.id for each in items])

    async def status(self, message_ids: Sequence[str]) -> list[BatchResult]:
        return self._answer("status", message_ids)

    # The same as a client's batch calls, for what takes a client.

    def prepare_batch(self, messages: Iterable[wire.PrepareRequest]) -> list[BatchResult]:
        given = list(messages)
        self.prepared += given
        return self._answer("prepare", [each.id or "" for each in given])

    def confirm_batch(self, message_ids: Iterable[str]) -> list[BatchResult]:
        return self._answer("confirm", list(message_ids))

    def cancel_batch(self, items: Iterable[str | wire.CancelItem], reason: str | None = None) -> list[BatchResult]:
        return self._answer("cancel", [_id(each) for each in items])

    def complete_batch(
        self, items: Iterable[str | wire.CompleteItem], subscription: str | None = None
    ) -> list[BatchResult]:
        return self._answer("complete", [_id(each) for each in items])

    def fail_batch(
        self, items: Iterable[str | wire.FailItem], reason: str | None = None, subscription: str | None = None
    ) -> list[BatchResult]:
        return self._answer("fail", [_id(each) for each in items])

    def status_batch(self, message_ids: Iterable[str]) -> list[BatchResult]:
        return self._answer("status", list(message_ids))

    def _answer(self, verb: str, ids: Sequence[str]) -> list[BatchResult]:
        self.told.append((verb, tuple(ids)))
        answer = self.answers.get(verb)
        if isinstance(answer, AfterCommitClientError):
            raise answer
        return [answer(each) if answer is not None else BatchResult(id=each, status="completed") for each in ids]


class AwaitedRecorder:
    """The recorder's batch calls, awaitable."""

    def __init__(self, inner: Recorder) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if not name.endswith("_batch"):
            raise AttributeError(name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return getattr(self._inner, name)(*arguments, **options)

        return call


def unreachable() -> Unreachable:
    """No answer came, and nobody knows whether the request arrived."""
    return Unreachable("No answer.", perhaps_received=True, repeatable=True)


def refused(kind: type[RolledBack | IdConflict | NotFound]) -> Callable[[str], BatchResult]:
    """An item that was refused."""
    return lambda message_id: BatchResult(id=message_id, error=kind("code", "It is refused."))


def _id(item: Any) -> str:
    return item if isinstance(item, str) else str(item.id)
