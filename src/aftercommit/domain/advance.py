"""One command against one message: the pure heart of every store.

`advance` reads a message's present state and returns the next one with the answer for the caller. It does no I/O and
draws nothing by itself: time, chance and the catalogue come in, the store writes what comes out by compare-and-set.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aftercommit.domain import commands as c
from aftercommit.domain import confirmation, delivery, operation, report
from aftercommit.domain.message import Message
from aftercommit.domain.step import Context, Step

# Any: each function takes its own kind of command; the key beside it says which.
_TRANSITIONS: Final[Mapping[type, Callable[[Any, Message, Context], Step]]] = {
    c.Confirm: confirmation.confirm,
    c.Cancel: confirmation.cancel,
    c.HoldCheck: confirmation.hold_check,
    c.HandOutCheck: confirmation.hand_out_check,
    c.ExpireUnasked: confirmation.expire_unasked,
    c.CheckAnswered: confirmation.check_answered,
    c.Resolve: confirmation.resolve,
    c.Recheck: confirmation.recheck,
    c.Accepted: delivery.accepted,
    c.BrokerRefused: delivery.refused_by_broker,
    c.Pull: delivery.pull,
    c.Redelivered: delivery.redelivered,
    c.Expire: delivery.expire,
    c.Complete: report.complete,
    c.Fail: report.fail,
    c.Redeliver: operation.redeliver,
    c.Discard: operation.discard,
}


def advance(command: c.Command, message: Message, context: Context) -> Step:
    """What `command` makes of `message`. Total: a command that may not be has an outcome with its refusal."""
    return _TRANSITIONS[type(command)](command, message, context)
