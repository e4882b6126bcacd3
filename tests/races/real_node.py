"""A real node as what settles messages: `aftercommit serve`, which checks back over HTTP, and may be killed."""

import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.e2e.node import Node
from tests.races.initiator import TOPIC
from tests.races.journal import read_journals
from tests.races.ledger import PENDING
from tests.races.node_side import APP, settled
from tests.races.settler import Reached
from tests.servers.ports import free_port

_POLICY: Final = {
    "check_after_seconds": 0.02,
    "check_interval_seconds": 0.02,
    "check_interval_max_seconds": 0.2,
    "checks_max": 1000,
}
_BATCH: Final = 100
_COUNT_SECONDS: Final = 0.5


class RealNode:
    """A node in its own folder; `journals` is where the campaign's processes write theirs."""

    def __init__(self, folder: Path, journals: Path) -> None:
        self._node = Node(folder)
        self._journals = journals
        self._check_port = free_port()
        self._raced, self._count_at = 0, 0.0

    def __enter__(self) -> Self:
        self._node.start()
        with self._node.caller(APP) as orders:
            url = f"http://127.0.0.1:{self._check_port}/"
            orders.put(f"/v1/apps/{APP}", {"check_url": url, "check_signed": False}).require(200, 201)
            orders.put_topic(TOPIC, policy=_POLICY).require(201)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._node.kill9()

    @property
    def reached(self) -> Reached:
        """How to reach it, and where it calls."""
        return Reached(node_url=self._node.url, check_port=self._check_port)

    @property
    def raced(self) -> int:
        """How many messages it asked about; counted now and then, for that means reading."""
        if time.monotonic() > self._count_at:
            self._raced = self._asked_about()
            self._count_at = time.monotonic() + _COUNT_SECONDS
        return self._raced

    def _asked_about(self) -> int:
        asked = (each["ids"] for each in read_journals(self._journals) if each["what"] == "asked")
        return len({message_id for ids in asked for message_id in ids})

    @property
    def undecided(self) -> int:
        """How many messages are pending."""
        return sum(status == PENDING for status in self.statuses().values())

    def statuses(self) -> dict[str, str]:
        """Every message that somebody prepared and it knows."""
        prepared = {
            message_id: None
            for each in read_journals(self._journals)
            if each["what"] == "service"
            for message_id in each["ids"]
        }
        ids = list(prepared)
        with self._node.client(APP) as client:
            results = [
                result
                for start in range(0, len(ids), _BATCH)
                for result in client.status_batch(ids[start : start + _BATCH])
            ]
        return {each.id or "": settled(each.status) for each in results if each.status is not None}

    def strike(self) -> bool:
        """Kill it, and start it again on its file and port."""
        self._node.restart()
        return True

    def calm(self) -> None:
        """It does not misbehave."""
