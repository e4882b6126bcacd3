"""The store port: where messages live. Every implementation passes `tests/conformance/store_suite.py`.

A store holds no rule of its own. It loads states, asks `domain.advance` what becomes of them, and writes the answer by
compare-and-set on the version it loaded.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from aftercommit.domain.catalog import Catalog, CatalogEdit
from aftercommit.domain.commands import Work
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Claimed, Content, DueKind, Message, Outcome, Taken, TimelineEvent
from aftercommit.ports.broker import Answer


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """The message `id` was locked by somebody else: nothing was done to it, and the same work may be asked for again.

    `status` is what it was when it was last seen.
    """

    id: str
    status: Status


Result: TypeAlias = Outcome | Claimed | Busy


class StoreCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between stores.

    `writers_max`: how many `write` calls gain from running at the same time. `shared`: other nodes may use the same
    database, so that work may come up without this node being told, and rows may be locked (`Busy`).
    """

    writers_max: int = 1
    shared: bool = False


# A node is told apart from a slow one by its silence: some ten heartbeats. Only what is shown depends on it.
NODE_FORGOTTEN_MS: Final = 30_000


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node as its heartbeat tells of it. `id` is new with every start; `seen_at` is the database's time."""

    id: str
    address: str
    roles: tuple[str, ...]
    version: str
    started_at: int
    seen_at: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is about one message. `content` is None for a tombstone."""

    message: Message
    content: Content | None
    events: tuple[TimelineEvent, ...]


class DueLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane with work of one kind. `at`: when its oldest is due, which may lie in the future."""

    kind: DueKind
    lane: int
    at: int


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages to list, newest first. Every given condition holds; ids are the catalogue's.

    `visible_to`: only messages of this application, or with a delivery to a subscription of it. `since` and `until`
    bound prepared_at (since inclusive, until exclusive). `error` is a part of the last error, `text` a part of the id,
    key or error. `after` continues below (prepared_at, id) of the last one seen.
    """

    limit: int
    visible_to: int | None = None
    status: Status | None = None
    topics: tuple[int, ...] | None = None
    app: int | None = None
    key: str | None = None
    since: int | None = None
    until: int | None = None
    error: str | None = None
    text: str | None = None
    after: tuple[int, str] | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a list shows it: no payload is read for it."""

    message: Message
    key: str | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a search. `next_after` continues it (None: nothing is left). A page may be short or empty and still
    have a next one: a store looks at a bounded number of rows per call.
    """

    messages: tuple[Listed, ...]
    next_after: tuple[int, str] | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages of one application and topic have a status. `oldest_at`: prepared_at of the oldest, for those
    not settled.
    """

    app: int
    topic: int | None
    status: Status
    count: int
    oldest_at: int | None = None


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """A round of publishing to an outside broker: due work of one kind (SEND or REDELIVER) in one lane, or of it only
    `ids`.
    """

    kind: DueKind
    lane: int
    limit: int
    ids: tuple[str, ...] | None = None


class Dispatched(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did. `unavailable` tells why the destination could not be used, if so; nothing was written then."""

    accepted: int = 0
    refused: int = 0
    parked: int = 0
    unavailable: str | None = None


Publish: TypeAlias = Callable[[Sequence[Taken]], Awaitable[list[Answer]]]
Edit: TypeAlias = Callable[[Catalog], CatalogEdit]


class Writer(Protocol):
    """The changing side. Every method raises `StoreUnavailable` when nothing was written and a retry may help."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """Constant for the life of the store."""

    @property
    def catalog(self) -> Catalog:
        """The present catalogue. Another node's edit may be seen a second late."""

    async def write(self, work: Sequence[Work], now: int) -> list[Result]:
        """Do all of `work` in one durable transaction; results in order: an `Outcome`, for a claim a `Claimed`, and a
        `Busy` for what could not be done because somebody else held the message's row.

        When it returns, everything it answers survives a crash. Work on the same id applies in order. A refused item
        changes nothing and does not disturb the others. A claim takes only what nobody else has taken: two claims of
        the same lane, however concurrent, never get the same attempt.
        """

    async def dispatch(self, dispatch: Dispatch, publish: Publish, now: int) -> Dispatched:
        """Take due work that nobody else holds, hand it to `publish`, and write what the broker answered.

        Accepted messages are `sent` in the database when this returns. If the write fails after the broker accepted,
        the work stays due and goes out again. Work whose budget is used up is parked without being published.
        An `Unavailable` answer writes nothing for its message.
        """

    async def edit_catalog(self, edit: Edit, now: int) -> CatalogEdit:
        """Apply a pure edit to the present catalogue, durably. `edit` may run more than once.

        Raises what `edit` raises, and `Conflict` (`subscription_in_use`, `topic_in_use`) where messages are in the way.
        """

    async def refresh_catalog(self) -> None:
        """See what other nodes have registered; nothing to do where there are none."""

    async def purge(self, now: int, limit: int) -> int:
        """Remove up to `limit` settled messages whose retention has passed; returns how many. Never a live or parked
        one.
        """


class Reader(Protocol):
    """The reading side. Never blocks a writer, never changes anything."""

    async def get(self, message_id: str) -> Stored | None:
        """One message with its content and history, or None."""

    async def find(self, ids: Sequence[str]) -> dict[str, Message]:
        """The present states of the ids that exist."""

    async def search(self, search: Search) -> Page:
        """A page of messages, newest prepared first."""

    async def due_lanes(self, kind: DueKind) -> list[DueLane]:
        """The lanes in which work of this kind waits, each with its oldest due time, in no order."""

    async def tallies(self) -> list[Tally]:
        """Counts per application, topic and status; pairs with no message may be missing."""

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store can be written now."""


class Shared(Protocol):
    """What a database that several nodes use offers besides: who they are, and the clock they all follow.

    Nothing that is done with messages depends on the records: a node that is thought dead may still work.
    """

    async def beat(self, record: NodeRecord) -> None:
        """Tell that a node lives. `seen_at` is set here; nodes silent for `NODE_FORGOTTEN_MS` are forgotten."""

    async def retire(self, node_id: str) -> None:
        """Forget a node that ends."""

    async def nodes(self) -> list[NodeRecord]:
        """The nodes that were heard of lately, the one that started first in front."""

    async def clock_ms(self) -> int:
        """The database's time at this moment, milliseconds since 1970 UTC."""


class Store(Writer, Reader, Protocol):
    """Both sides, and a life."""

    async def open(self, now: int) -> None:
        """Connect, take what locks it needs, load the catalogue. Raises `ConfigurationError` with what to do."""

    async def close(self) -> None:
        """Finish what is being written and let go. May be called twice."""
