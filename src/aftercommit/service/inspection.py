"""The read side: one message, lists, numbers."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from aftercommit.domain.errors import Invalid, NotFound
from aftercommit.domain.lifecycle import Status
from aftercommit.ports.clock import Clock
from aftercommit.ports.store import Reader, Search
from aftercommit.service.caller import Caller
from aftercommit.service.directory import NOBODY, Directory
from aftercommit.service.views import message_answer, message_summary
from aftercommit.wire import MessageAnswer, MessagesAnswer, StatsAnswer, StatsRow, parse_time

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
PARAMETERS: Final = ("status", "topic", "app", "key", "since", "until", "error", "q", "cursor", "limit")
# What no row can match: the list of an unknown topic or application is empty, not an error.
_NOTHING: Final = -1


class Inspection:
    """Answers questions; changes nothing."""

    def __init__(
        self, reader: Reader, directory: Directory, *, clock: Clock, rates: Callable[[], Mapping[str, float]]
    ) -> None:
        self._reader = reader
        self._directory = directory
        self._clock = clock
        self._rates = rates

    async def get(self, caller: Caller, message_id: str) -> MessageAnswer:
        """Everything about one message the caller may see, else `NotFound`."""
        stored = await self._reader.get(message_id)
        if stored is not None:
            await self._directory.know_of((stored.message,))
            await self._directory.find_app_id(caller)
        if stored is None or not self._directory.may_see(caller, stored.message):
            raise NotFound("unknown_message", f"There is no message {message_id}.")
        return message_answer(stored, self._directory)

    async def search(self, caller: Caller, **parameters: str) -> MessagesAnswer:
        """A page of what the caller may see, newest first. `parameters` are the query's, unread."""
        page = await self._reader.search(await self._read(caller, parameters))
        await self._directory.know_of(each.message for each in page.messages)
        return MessagesAnswer(
            messages=[message_summary(each, self._directory) for each in page.messages],
            next_cursor=f"{page.next_after[0]}~{page.next_after[1]}" if page.next_after else None,
        )

    async def stats(self, caller: Caller) -> StatsAnswer:
        """Counts, ages and rates; of the caller's own messages unless it may see all."""
        scope = await self._directory.operator_scope(caller)
        now = self._clock.now()
        tallies = [each for each in await self._reader.tallies() if scope in (None, each.app) and each.count]
        await self._directory.know(
            apps=(each.app for each in tallies), topics=(each.topic for each in tallies if each.topic is not None)
        )
        totals: Counter[str] = Counter({status.value: 0 for status in Status})
        for each in tallies:
            totals[each.status.value] += each.count
        rows = [
            StatsRow(
                app=self._directory.app_name(each.app),
                topic=self._directory.topic_name(each.topic),
                status=each.status,
                count=each.count,
                oldest_age_seconds=None if each.oldest_at is None else max(0, now - each.oldest_at) / 1000,
            )
            for each in tallies
        ]
        return StatsAnswer(messages=rows, totals=dict(totals), rates=dict(self._rates()))

    async def _read(self, caller: Caller, parameters: Mapping[str, str]) -> Search:
        for name in parameters:
            if name not in PARAMETERS:
                raise Invalid("invalid_query", f"There is no parameter {name[:80]!r}.", f"/{name[:80]}")
        search = Search(
            limit=_limit(parameters.get("limit")),
            visible_to=await self._directory.operator_scope(caller),
            status=_status(parameters.get("status")),
            key=parameters.get("key"),
            since=_time("since", parameters.get("since")),
            until=_time("until", parameters.get("until")),
            error=parameters.get("error"),
            text=parameters.get("q"),
            after=_cursor(parameters.get("cursor")),
        )
        if {"topic", "app"} & parameters.keys():
            await self._directory.look_for(app=parameters.get("app"), topic=parameters.get("topic"))
        catalog = self._directory.catalog
        if "topic" in parameters:
            named = [each.id for each in catalog.topics.values() if each.name == parameters["topic"]]
            search = msgspec.structs.replace(search, topics=tuple(named) or (_NOTHING,))
        if "app" in parameters:
            app = catalog.app(parameters["app"])
            search = msgspec.structs.replace(search, app=app.id if app else NOBODY)
        return search


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise Invalid("invalid_query", f"limit must be from 1 to {LIMIT_MAX}.", "/limit")
    return int(text)


def _status(text: str | None) -> Status | None:
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        raise Invalid("invalid_query", f"{text[:80]!r} is not a status.", "/status") from None


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    # A plus sign left unescaped in a query arrives as a space.
    at = parse_time(text.replace(" ", "+"))
    if at is None:
        raise Invalid("invalid_query", f"{name} must be an RFC 3339 time with its zone.", f"/{name}")
    return at


def _cursor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    at, _, message_id = text.partition("~")
    if not (at.isascii() and at.isdigit() and len(at) <= 15 and message_id):
        raise Invalid("invalid_query", "The cursor is not one this service gave.", "/cursor")
    return int(at), message_id
