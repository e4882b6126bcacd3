"""The moments at which a process may die, named so that tests can make it die there."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias


class Point(StrEnum):
    """A moment between two steps of a local transaction or of a delivery, in the order they pass.

    `AFTER_SEND`: the confirm was answered, so that the service delivers. `BEFORE_REPORT`: the consumer's work is
    committed and not yet reported.

        passed = []
        with Client("http://127.0.0.1:8340", app="orders", probe=passed.append) as client:
            with Session() as session, client.transaction(session) as tx:
                tx.publish("orders.created", {"order": 42})
        assert passed[-1] is Point.AFTER_SEND
    """

    BEFORE_PREPARE = "before_prepare"
    AFTER_PREPARE = "after_prepare"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    AFTER_SEND = "after_send"
    BEFORE_WORK = "before_work"
    AFTER_WORK = "after_work"
    BEFORE_REPORT = "before_report"
    AFTER_REPORT = "after_report"


Probe: TypeAlias = Callable[[Point], None]


def no_probe(_point: Point) -> None:
    """What passes a point when nobody tests."""


def probe_of(client: object) -> Probe:
    """What a client was given to pass points with."""
    probe: Probe = getattr(client, "probe", no_probe)
    return probe
