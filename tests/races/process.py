"""What a process of the races is told when it is forked, and how it becomes that."""

import logging
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from aftercommit.sdk.service import Service
from tests.races.checker import Checker
from tests.races.initiator import Initiator
from tests.races.journal import Journal
from tests.races.node_side import Responder, node_service
from tests.races.service import LedgerService
from tests.races.settler import Reached
from tests.races.shops import Place, shop
from tests.races.weaker import WEAKER

INITIATOR: Final = "initiator"
CHECKER: Final = "checker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """`barrier`: "on", or the name of a weaker one. `pace`: by how much its thinking is shortened."""

    kind: str
    name: str
    seed: str
    driver: str
    place: Place
    folder: str
    reached: Reached
    workers: int
    pace: float
    barrier: str

    def encoded(self) -> str:
        """As one line."""
        return msgspec.json.encode(self).decode()


def play(line: str) -> None:
    """Be what the line says until SIGTERM."""
    role = msgspec.json.decode(line, type=Role)
    logging.basicConfig(level=logging.ERROR, format=f"{role.name} %(name)s %(message)s")
    # A pool that meets a lost connection says so aloud; here connections are lost all the time.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    if role.barrier != "on":
        WEAKER[role.barrier]()
    is_initiator = role.kind == INITIATOR
    own = shop(role.driver, role.place, Random(role.seed), loses_answers=is_initiator)
    journal = Journal(Path(role.folder), role.name)
    what: Any
    reached = role.reached
    if is_initiator:

        def serve() -> Service:
            if reached.node_url:
                return node_service(reached.node_url, journal, Random(f"{role.seed}/node"), blocking=own.blocking)
            return LedgerService(reached.ledger_port, blocking=own.blocking)

        what = Initiator(
            name=role.name,
            seed=role.seed,
            shop=own,
            journal=journal,
            serve=serve,
            workers=role.workers,
            pace=role.pace,
        )
    elif reached.node_url:
        what = Responder(name=role.name, shop=own, journal=journal, port=reached.check_port)
    else:
        what = Checker(
            name=role.name,
            seed=role.seed,
            shop=own,
            journal=journal,
            ledger_port=reached.ledger_port,
            workers=role.workers,
        )
    what.run()
