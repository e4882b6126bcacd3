"""What settles messages in a campaign: the ledger, for races by the thousand, or a real node."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reached:
    """How the processes of a campaign reach it.

    Either the ledger on its port, or a node at its address, which calls its checkers on `check_port`.
    """

    ledger_port: int = 0
    node_url: str = ""
    check_port: int = 0


class Settler(Protocol):
    """As the campaign sees it."""

    @property
    def reached(self) -> Reached:
        """How to reach it."""

    @property
    def raced(self) -> int:
        """How many messages were checked while pending, about."""

    @property
    def undecided(self) -> int:
        """How many messages are pending."""

    def statuses(self) -> dict[str, str]:
        """Every message, and whether it is pending, confirmed or rolled back."""

    def strike(self) -> bool:
        """Be killed and come back; whether it can."""

    def calm(self) -> None:
        """Misbehave no more."""
