"""The operator's half of the client: looking, deciding, and saying what exists. Blocking and awaitable."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, Unpack

from aftercommit import wire
from aftercommit.sdk.clients import operations
from aftercommit.sdk.clients.answers import BatchResult, read_batch
from aftercommit.sdk.clients.calls import Call
from aftercommit.sdk.clients.operations import MessageFilters, TopicOptions
from aftercommit.sdk.messages import StoredMessage

T = TypeVar("T")


class OperatorCalls(ABC):
    """The methods of `Client` for operators and for registering; raises what `Client` says."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T:
        """Make the call."""

    # Looking.

    def message(self, message_id: str) -> StoredMessage:
        """Everything about one message: content, status, deliveries, timeline. Raises `NotFound`."""
        return self._run(operations.message(message_id))

    def messages(self, **filters: Unpack[MessageFilters]) -> Iterator[wire.MessageSummary]:
        """Messages, newest first, over as many pages as there are; `limit` is the size of a page.

        for each in client.messages(topic="orders.created", since=yesterday): ...
        """
        cursor = None
        while True:
            page = self.messages_page(cursor, **filters)
            yield from page.messages
            cursor = page.next_cursor
            if cursor is None:
                return

    def messages_page(self, cursor: str | None = None, **filters: Unpack[MessageFilters]) -> wire.MessagesAnswer:
        """One page: `messages` and the `next_cursor` to continue with, None at the end. May be short before it."""
        return self._run(operations.messages_page(filters, cursor))

    def stats(self) -> wire.StatsAnswer:
        """Counts, oldest ages and rates of the last minute."""
        return self._run(operations.stats())

    # Topics and applications.

    def put_topic(self, topic: str, **options: Unpack[TopicOptions]) -> wire.TopicAnswer:
        """Create a topic or change it; what is not given stays. Raises `Conflict` if deliveries would be lost.

        client.put_topic("orders.created", subscriptions=["billing", "stock"], policy={"deliveries_max": 5})
        """
        return self._run(operations.put_topic(topic, options))

    def topic(self, name: str) -> wire.TopicAnswer:
        """A topic with the policy in force. Raises `NotFound`."""
        return self._run(operations.topic(name))

    def topics(self) -> list[wire.TopicAnswer]:
        """Every topic, by name."""
        return self._run(operations.topics()).topics

    def delete_topic(self, name: str) -> None:
        """Forget a topic. Raises `Conflict` while it has live or parked messages."""
        self._run(operations.delete_topic(name))

    def pause(self, topic: str) -> wire.TopicAnswer:
        """Stop sending, redelivery and pull of a topic; everything else goes on."""
        return self._run(operations.pause(topic))

    def resume(self, topic: str) -> wire.TopicAnswer:
        """Let a paused topic go on."""
        return self._run(operations.resume(topic))

    def put_app(self, app: str, *, check_url: str | None = None, check_signed: bool | None = None) -> wire.AppAnswer:
        """Register an application, or set its check address. A new one's signing secret is in this answer only."""
        return self._run(operations.put_app(app, check_url, check_signed))

    def app(self, name: str) -> wire.AppAnswer:
        """A registered application; its secrets are only named. Raises `NotFound`."""
        return self._run(operations.app(name))

    def add_secret(self, app: str) -> wire.SecretAnswer:
        """Make a signing secret, shown in this answer only. Two are valid at a time. Never repeated by itself."""
        return self._run(operations.add_secret(app))

    # Deciding.

    def resolve(self, message_id: str, outcome: str, reason: str) -> wire.MessageStatus:
        """Decide an undecided message: `committed` or `rolled_back`. A last check's definitive answer wins."""
        return self._run(operations.resolve(message_id, outcome, reason))

    def recheck(self, message_id: str) -> wire.MessageStatus:
        """Have the initiator asked now. Raises `InvalidTransition` if the message is decided."""
        return self._run(operations.recheck(message_id))

    def redeliver(
        self, message_id: str, subscriptions: Sequence[str] | None = None, reason: str | None = None
    ) -> wire.MessageStatus:
        """Send again. A failed or completed message is sent as a new one, whose id is in the answer."""
        return self._run(operations.redeliver(message_id, subscriptions, reason))

    def discard(self, message_id: str, reason: str) -> wire.MessageStatus:
        """Give up what is not delivered yet of a message."""
        return self._run(operations.discard(message_id, reason))

    # Checks of applications that cannot be called.

    def pull_checks(
        self,
        app: str,
        max: int = wire.CHECKS_PER_CALL_MAX,  # noqa: A002 - the protocol's word
        wait_seconds: float = 0,
    ) -> list[wire.Check]:
        """Fetch up to `max` due checks, waiting up to 30 s for the first. Handed out is counted as asked."""
        return self._run(operations.pull_checks(app, max, wait_seconds)).checks

    def answer_checks(self, app: str, results: Sequence[wire.CheckResult]) -> list[BatchResult]:
        """Answer checks: `committed`, `rolled_back` (can never commit any more) or `unknown`. One result each."""
        call = operations.answer_checks(app, results)
        return read_batch(call, self._run(call))
