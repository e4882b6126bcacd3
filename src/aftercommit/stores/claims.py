"""Which messages are being published right now, for stores whose one process holds them in memory."""

from collections.abc import Collection, Iterable
from threading import Lock

from aftercommit.domain import commands as c
from aftercommit.domain.message import DueKind
from aftercommit.ports.broker import Accepted, Answer, Refused, Unavailable
from aftercommit.ports.store import Dispatch


class Claims:
    """Ids that somebody publishes. Taken by the store's thread, given back by whoever published."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ids: set[str] = set()

    def held(self) -> frozenset[str]:
        """What is being published now."""
        with self._lock:
            return frozenset(self._ids)

    def hold(self, ids: Iterable[str]) -> None:
        """Nobody else publishes these until they are released."""
        with self._lock:
            self._ids.update(ids)

    def release(self, ids: Collection[str]) -> None:
        """Others may publish these again."""
        with self._lock:
            self._ids.difference_update(ids)


def command_for(answer: Answer, dispatch: Dispatch, message_id: str) -> c.Command | None:
    """What the broker's answer does to a message that was published; None: nothing."""
    subscription = dispatch.lane if dispatch.kind is DueKind.REDELIVER else None
    match answer:
        case Accepted() if subscription is not None:
            return c.Redelivered(id=message_id, subscription=subscription)
        case Accepted():
            return c.Accepted(id=message_id, pullable=False)
        case Refused(reason, final):
            return c.BrokerRefused(id=message_id, reason=reason, final=final, subscription=subscription)
        case Unavailable():
            return None
