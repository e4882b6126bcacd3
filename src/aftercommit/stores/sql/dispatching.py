"""Publishing inside the transaction that marks what was published."""

from collections.abc import Sequence

from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.errors import Inconsistency
from aftercommit.domain.message import DueKind, Message, Taken
from aftercommit.ports import broker
from aftercommit.ports.store import Dispatch, Dispatched, Publish
from aftercommit.stores.claims import command_for
from aftercommit.stores.due import due_at, longest_due
from aftercommit.stores.fold import Fold
from aftercommit.stores.sql.folding import Folder


class Round:
    """One batch: taken and locked, handed to the broker, written as it answered. Without an answer all is undone."""

    def __init__(self, fold: Fold, folder: Folder, dispatch: Dispatch, now: int) -> None:
        self._fold = fold
        self._folder = folder
        self._dispatch = dispatch
        self._now = now

    async def run(self, publish: Publish) -> Dispatched:
        """Publish what is due."""
        due = await self._due()
        self._fold.keep(due)
        free = [each for each in due if not self._parked(each)]
        answers: list[broker.Answer] = []
        if free:
            # From here on nothing is touched but these rows: nobody is waited for while a broker has them.
            answers = await publish(await self._taken(free))
            if len(answers) != len(free):
                raise Inconsistency(f"The broker answered {len(answers)} times to {len(free)} messages.")
        for each, answer in zip(free, answers, strict=True):
            command = command_for(answer, self._dispatch, each.id)
            if command is not None:
                self._fold.apply(command)
        await self._folder.write(self._fold.changes)
        return Dispatched(
            accepted=sum(isinstance(each, broker.Accepted) for each in answers),
            refused=sum(isinstance(each, broker.Refused) for each in answers),
            parked=len(due) - len(free),
            unavailable=next((each.reason for each in answers if isinstance(each, broker.Unavailable)), None),
        )

    async def _due(self) -> Sequence[Message]:
        kind, lane, limit = self._dispatch.kind, self._dispatch.lane, self._dispatch.limit
        if self._dispatch.ids is None:
            return (await self._folder.due(kind, lane, limit, ())).messages
        named = await self._folder.states(self._dispatch.ids)
        ready = [each for each in named if (at := due_at(each, kind, lane)) is not None and at <= self._now]
        return longest_due(ready, kind, lane, limit, None).messages

    def _parked(self, message: Message) -> bool:
        """Whether the message's budget is used up; then it is given up now."""
        if self._dispatch.kind is not DueKind.REDELIVER:
            return False
        command = c.Redelivered(id=message.id, subscription=self._dispatch.lane)
        if self._fold.would_take(command):
            return False
        self._fold.apply(command)
        return True

    async def _taken(self, messages: Sequence[Message]) -> list[Taken]:
        contents = await self._folder.contents([each.id for each in messages])
        # They were read with the version of their next write; the broker gets them as they stand.
        return [Taken(message=replace(each, version=each.version - 1), content=contents[each.id]) for each in messages]
