"""The memory store: dictionaries that keep the store's contract, and forget everything with the process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Catalog, CatalogEdit
from aftercommit.domain.errors import Inconsistency, StoreUnavailable
from aftercommit.domain.lifecycle import TERMINAL, Status
from aftercommit.domain.message import DueKind, Message
from aftercommit.domain.policies import MS
from aftercommit.domain.step import Context
from aftercommit.ports import broker
from aftercommit.ports.store import (
    Dispatch,
    Dispatched,
    DueLane,
    Edit,
    Listed,
    Page,
    Publish,
    Result,
    Search,
    StoreCapabilities,
    Stored,
    Tally,
)
from aftercommit.stores.memory_writing import Rows, Writing

_CAPABILITIES: Final = StoreCapabilities(writers_max=1)


class MemoryStore:
    """Messages in dictionaries. Nothing waits inside a write, so each is atomic by itself."""

    def __init__(self, *, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._rows = Rows()
        self._catalog = Catalog.of()
        self._publishing: set[str] = set()
        self._is_open = False

    @property
    def capabilities(self) -> StoreCapabilities:
        return _CAPABILITIES

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    async def open(self, now: int) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def ping(self) -> None:
        self._require_open()

    async def write(self, work: Sequence[c.Work], now: int) -> list[Result]:
        with self._writing(now) as writing:
            return [writing.do(each) for each in work]

    async def dispatch(self, dispatch: Dispatch, publish: Publish, now: int) -> Dispatched:
        with self._writing(now) as writing:
            taken, parked = writing.take_to_publish(dispatch, self._publishing)
        if not taken:
            return Dispatched(parked=parked)
        ids = {each.message.id for each in taken}
        self._publishing |= ids
        try:
            answers = await publish(taken)
        finally:
            self._publishing -= ids
        if len(answers) != len(taken):
            raise Inconsistency(f"The broker answered {len(answers)} times to {len(taken)} messages.")
        with self._writing(now) as writing:
            for each, answer in zip(taken, answers, strict=True):
                writing.apply_answer(dispatch, each.message.id, answer)
        return Dispatched(
            accepted=sum(isinstance(each, broker.Accepted) for each in answers),
            refused=sum(isinstance(each, broker.Refused) for each in answers),
            parked=parked,
            unavailable=next((each.reason for each in answers if isinstance(each, broker.Unavailable)), None),
        )

    async def edit_catalog(self, edit: Edit, now: int) -> CatalogEdit:
        self._require_open()
        edited = edit(self._catalog)
        with self._writing(now, edited.catalog) as writing:
            for topic in edited.removed_topics:
                writing.require_settled(topic)
            for subscription in edited.dropped_subscriptions:
                writing.close_deliveries(subscription, force=edited.force)
        self._catalog = edited.catalog
        return edited

    async def refresh_catalog(self) -> None:
        """Nobody else edits it."""

    async def purge(self, now: int, limit: int) -> int:
        self._require_open()
        over = (each for each in self._rows.messages.values() if self._retention_passed(each, now))
        purged = list(islice(over, limit))
        for each in purged:
            self._rows.remove(each.id)
        return len(purged)

    async def get(self, message_id: str) -> Stored | None:
        self._require_open()
        message = self._rows.messages.get(message_id)
        if message is None:
            return None
        events = self._rows.events.get(message_id, ())
        return Stored(message=message, content=self._rows.contents.get(message_id), events=events)

    async def find(self, ids: Sequence[str]) -> dict[str, Message]:
        self._require_open()
        return {each: self._rows.messages[each] for each in ids if each in self._rows.messages}

    async def search(self, search: Search) -> Page:
        self._require_open()
        found = [each for each in self._rows.messages.values() if self._is_wanted(search, each)]
        found.sort(key=_place, reverse=True)
        page = found[: search.limit]
        return Page(
            messages=tuple(Listed(message=each, key=self._key(each)) for each in page),
            next_after=_place(page[-1]) if len(found) > len(page) else None,
        )

    async def due_lanes(self, kind: DueKind) -> list[DueLane]:
        self._require_open()
        return self._rows.lanes(kind)

    async def tallies(self) -> list[Tally]:
        self._require_open()
        groups: dict[tuple[int, int | None, Status], list[int]] = {}
        for each in self._rows.messages.values():
            groups.setdefault((each.app, each.topic, each.status), []).append(each.prepared_at)
        return [
            Tally(
                app=app,
                topic=topic,
                status=status,
                count=len(times),
                oldest_at=None if status in TERMINAL else min(times),
            )
            for (app, topic, status), times in groups.items()
        ]

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable("The memory store is closed.")

    @contextmanager
    def _writing(self, now: int, catalog: Catalog | None = None) -> Iterator[Writing]:
        self._require_open()
        context = Context(now=now, catalog=catalog or self._catalog, chance=self._chance)
        writing = Writing(self._rows, context)
        try:
            yield writing
        except BaseException:
            writing.undo()
            raise

    def _retention_passed(self, message: Message, now: int) -> bool:
        if message.status not in TERMINAL or message.settled_at is None:
            return False
        return message.settled_at + self._catalog.policy(message.topic).retention_seconds * MS <= now

    def _key(self, message: Message) -> str | None:
        content = self._rows.contents.get(message.id)
        return content.key if content else None

    def _is_wanted(self, search: Search, message: Message) -> bool:
        key, error = self._key(message), message.error or ""
        return (
            (search.after is None or _place(message) < search.after)
            and (search.visible_to is None or self._is_visible(message, search.visible_to))
            and search.status in (None, message.status)
            and (search.topics is None or message.topic in search.topics)
            and search.app in (None, message.app)
            and search.key in (None, key)
            and (search.since is None or message.prepared_at >= search.since)
            and (search.until is None or message.prepared_at < search.until)
            and (search.error is None or search.error in error)
            and (search.text is None or any(search.text in each for each in (message.id, key or "", error)))
        )

    def _is_visible(self, message: Message, app: int) -> bool:
        owners = (self._catalog.subscriptions[each.subscription].app for each in message.deliveries)
        return message.app == app or app in owners


def _place(message: Message) -> tuple[int, str]:
    return message.prepared_at, message.id
