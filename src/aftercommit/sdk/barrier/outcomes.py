"""What became of a local transaction, as the initiator's side says it."""

from enum import StrEnum


class Outcome(StrEnum):
    """`UNKNOWN` means: ask again. `ROLLED_BACK` only if the transaction can never commit any more.

    @responder.rule("orders.paid")
    def paid(check):
        order = orders.find(check.key)
        return Outcome.COMMITTED if order.paid else Outcome.UNKNOWN
    """

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    UNKNOWN = "unknown"
