"""Which messages are being published, and what the broker's answers do to them."""

from threading import Thread

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.message import DueKind
from aftercommit.ports.broker import Accepted, Answer, Refused, Unavailable
from aftercommit.ports.store import Dispatch
from aftercommit.stores.claims import Claims, command_for

SEND = Dispatch(kind=DueKind.SEND, lane=4, limit=1)
REDELIVER = Dispatch(kind=DueKind.REDELIVER, lane=7, limit=1)


def test_what_is_held_is_held_until_it_is_released() -> None:
    claims = Claims()

    claims.hold(["a", "b"])
    claims.hold(["c"])
    claims.release(["b", "unknown"])

    assert claims.held() == {"a", "c"}


def test_holding_in_one_thread_and_releasing_in_another_loses_nothing() -> None:
    claims = Claims()

    def hold_and_release(name: str) -> None:
        for number in range(500):
            claims.hold([f"{name}{number}"])
            claims.held()
            claims.release([f"{name}{number - 1}"])

    threads = [Thread(target=hold_and_release, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert claims.held() == {"a499", "b499", "c499", "d499"}


@pytest.mark.parametrize(
    ("answer", "dispatch", "command"),
    [
        (Accepted(), SEND, c.Accepted(id="a", pullable=False)),
        (Accepted(), REDELIVER, c.Redelivered(id="a", subscription=7)),
        (Refused("no"), SEND, c.BrokerRefused(id="a", reason="no", final=False)),
        (Refused("no", final=True), REDELIVER, c.BrokerRefused(id="a", reason="no", final=True, subscription=7)),
        (Unavailable("down"), SEND, None),
        (Unavailable("down"), REDELIVER, None),
    ],
)
def test_every_answer_has_its_command(answer: Answer, dispatch: Dispatch, command: c.Command | None) -> None:
    assert command_for(answer, dispatch, "a") == command
