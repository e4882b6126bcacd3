"""Everything that can be asked of stored messages: one record per command.

`app` is the application that asks; None means an operator who may touch every application's messages.
`actor` is the name the timeline shows.
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec

from aftercommit.domain.message import Content, DueKind, Message


class CheckOutcome(StrEnum):
    """What an initiator says became of its local transaction."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    UNKNOWN = "unknown"


class Prepare(msgspec.Struct, frozen=True, kw_only=True):
    """Store a new message. Repeating it with the same content changes nothing."""

    message: Message
    content: Content

    @property
    def id(self) -> str:
        """The message's id."""
        return self.message.id


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """The initiator's local transaction committed.

    `pullable`: the broker is the store itself, so that what is due is sent in the same write; see `Accepted`.
    """

    id: str
    app: int
    actor: str
    pullable: bool = False


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """The initiator's local transaction rolled back. With `tombstone`, an unknown id is stored as rolled back."""

    id: str
    app: int
    actor: str
    reason: str | None = None
    tombstone: bool = False


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """The consumer did its work. `subscription` None: the only one of the message that is the caller's."""

    id: str
    app: int
    actor: str
    subscription: str | None = None


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """The consumer refuses definitively."""

    id: str
    app: int
    actor: str
    reason: str
    subscription: str | None = None


class HoldCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A node is about to ask over the network: nobody else asks meanwhile. Not counted yet."""

    id: str


class HandOutCheck(msgspec.Struct, frozen=True, kw_only=True):
    """An initiator that cannot be called fetched this check: counted now."""

    id: str


class ExpireUnasked(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody can be asked about this message and nobody asks: undecided once that has lasted too long."""

    id: str


class CheckAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """What a check brought. `made` False: nothing was asked (nobody could be), so no budget is used.

    `counted`: it was counted when it was handed out.
    """

    id: str
    outcome: CheckOutcome
    made: bool = True
    counted: bool = False
    app: int | None = None
    detail: str | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The broker took the message. `pullable`: the broker is the store itself, and attempts are counted by pulls."""

    id: str
    pullable: bool
    subscription: int | None = None


class BrokerRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The broker refused this message (not: was unavailable). `final`: it will never take it."""

    id: str
    reason: str
    final: bool
    subscription: int | None = None


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer took its delivery from the built-in broker: one attempt."""

    id: str
    subscription: int


class Redelivered(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery's time came: one more attempt at an outside broker, or the budget is used up."""

    id: str
    subscription: int


class Expire(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt's interval passed: the budget is used up."""

    id: str
    subscription: int


class Resolve(msgspec.Struct, frozen=True, kw_only=True):
    """An operator decides an undecided message."""

    id: str
    app: int | None
    actor: str
    committed: bool
    reason: str


class Recheck(msgspec.Struct, frozen=True, kw_only=True):
    """An operator wants the initiator asked now."""

    id: str
    app: int | None
    actor: str


class Redeliver(msgspec.Struct, frozen=True, kw_only=True):
    """An operator wants it delivered (again). Of a settled message a copy named `replay_id` is made."""

    id: str
    app: int | None
    actor: str
    replay_id: str
    subscriptions: tuple[str, ...] | None = None
    reason: str | None = None


class Discard(msgspec.Struct, frozen=True, kw_only=True):
    """An operator gives the message's open deliveries up. `subscription`: only that one's."""

    id: str
    app: int | None
    actor: str
    reason: str
    subscription: int | None = None


Command: TypeAlias = (
    Confirm
    | Cancel
    | Complete
    | Fail
    | HoldCheck
    | HandOutCheck
    | ExpireUnasked
    | CheckAnswered
    | Accepted
    | BrokerRefused
    | Pull
    | Redelivered
    | Expire
    | Resolve
    | Recheck
    | Redeliver
    | Discard
)


class ClaimChecks(msgspec.Struct, frozen=True, kw_only=True):
    """Take due checks of an application. `handed_out`: to an initiator that fetches them, so they count at once."""

    app: int
    limit: int
    handed_out: bool = False

    kind = DueKind.CHECK

    @property
    def lane(self) -> int:
        """The application."""
        return self.app

    def take(self, message: Message) -> Command:
        """What taking `message` does to it."""
        return HandOutCheck(id=message.id) if self.handed_out else HoldCheck(id=message.id)


class ClaimUnasked(msgspec.Struct, frozen=True, kw_only=True):
    """Look at due checks of an application that has no address: only those left alone for too long are touched."""

    app: int
    limit: int

    kind = DueKind.CHECK

    @property
    def lane(self) -> int:
        """The application."""
        return self.app

    def take(self, message: Message) -> Command:
        """What taking `message` does to it."""
        return ExpireUnasked(id=message.id)


class ClaimSends(msgspec.Struct, frozen=True, kw_only=True):
    """Hand due sends of a topic to the broker that is the store itself: taken is accepted."""

    topic: int
    limit: int

    kind = DueKind.SEND

    @property
    def lane(self) -> int:
        """The topic."""
        return self.topic

    def take(self, message: Message) -> Command:
        """What taking `message` does to it."""
        return Accepted(id=message.id, pullable=True)


class ClaimPulls(msgspec.Struct, frozen=True, kw_only=True):
    """Give a consumer what it may pull of a subscription: one attempt each."""

    subscription: int
    limit: int

    kind = DueKind.PULL

    @property
    def lane(self) -> int:
        """The subscription."""
        return self.subscription

    def take(self, message: Message) -> Command:
        """What taking `message` does to it."""
        return Pull(id=message.id, subscription=self.subscription)


class ClaimExpired(msgspec.Struct, frozen=True, kw_only=True):
    """Park a subscription's deliveries whose last attempt was not reported in time."""

    subscription: int
    limit: int

    kind = DueKind.EXPIRE

    @property
    def lane(self) -> int:
        """The subscription."""
        return self.subscription

    def take(self, message: Message) -> Command:
        """What taking `message` does to it."""
        return Expire(id=message.id, subscription=self.subscription)


Claim: TypeAlias = ClaimChecks | ClaimUnasked | ClaimSends | ClaimPulls | ClaimExpired
Work: TypeAlias = Prepare | Command | Claim
