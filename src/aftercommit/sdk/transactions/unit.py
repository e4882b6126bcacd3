"""One unit of work with all its retries: its messages keep their ids, so that the second run meets the first."""

from collections.abc import Sequence

from aftercommit.sdk.messages import new_id


class Unit:
    """The ids of a unit's messages, by the order in which a run publishes them.

    Hand the same unit to the transaction of every retry. A run that follows one whose COMMIT nobody heard of finds
    out whether that committed; if so it is rolled back, and `already_done` says so.

        unit = Unit()
        for attempt in stamina.retry_context(on=OperationalError):
            with attempt, Session() as session, client.transaction(session, unit=unit) as tx:
                session.add(Order(number=42))
                tx.publish("orders.created", {"order": 42})

    A unit is used by one run at a time, and every run should publish the same messages in the same order, with the
    same payloads: the first run's number of a row that was rolled back is not the second's.

    A run that was rolled back for good, which the barrier knows, gives its ids up: the next run takes new ones.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._next = 0
        self._runs = 0

    @property
    def message_ids(self) -> Sequence[str]:
        """The ids given out so far."""
        return tuple(self._ids)

    @property
    def is_retry(self) -> bool:
        """Whether this is not the first run under the present ids."""
        return self._runs > 1

    def begin_run(self) -> None:
        """Another run: ids are given out from the first one again."""
        self._next = 0
        self._runs += 1

    def next_id(self) -> str:
        """The id of the next message of this run."""
        if self._next == len(self._ids):
            self._ids.append(new_id())
        self._next += 1
        return self._ids[self._next - 1]

    def renew(self) -> None:
        """Every id was ruled out, and can never be committed: the next run takes new ones."""
        self._ids.clear()
        self._next = self._runs = 0
