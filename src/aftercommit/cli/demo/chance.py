"""Everything the demo leaves to chance, drawn from its seed before anything starts: the same seed, the same mishaps."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from aftercommit.cli.demo.scene import ITEMS

_DECLINED_SHARE = 0.08
_CONFIRM_LOST_SHARE = 0.10
_REPORT_LOST_SHARE = 0.02
_SLOW_BEFORE_SHARE = 0.005
_SLOW_INSIDE_SHARE = 0.003
# From this many orders on, each kind of mishap comes at least once.
_ORDERS_FOR_ALL = 20

_KILLS_EACH_MIN = 2
_ONE_KILL_MORE = 0.4
# Kills come while orders flow: not before some were placed, and not after the last one.
_FIRST_KILL, _LAST_KILL = 0.03, 0.97
_KILL_DELAY_MAX_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Mishaps:
    """The numbers of the orders to which something happens, besides kills.

    `declined`: the order is rolled back on purpose. `confirm_lost`: committed, but the confirm is never sent.
    `slow_before`, `slow_inside`: so slow before, or inside, the transaction that the check-back comes meanwhile.
    `report_lost`: the stock service takes it from the stock, but does not report that.
    """

    declined: frozenset[int]
    confirm_lost: frozenset[int]
    slow_before: frozenset[int]
    slow_inside: frozenset[int]
    report_lost: frozenset[int]


@dataclass(frozen=True, slots=True)
class Kill:
    """`kill -9` of `victim`, `delay_seconds` after `after_orders` orders came to a known end."""

    victim: str
    after_orders: int
    delay_seconds: float


def mishaps(seed: int, orders: int) -> Mishaps:
    """What goes wrong in a demo of that many orders."""

    def some(kind: str, share: float) -> frozenset[int]:
        count = max(round(orders * share), 1 if orders >= _ORDERS_FOR_ALL else 0)
        return frozenset(random.Random(f"{seed}/{kind}").sample(range(1, orders + 1), count))

    return Mishaps(
        declined=some("declined", _DECLINED_SHARE),
        confirm_lost=some("confirm lost", _CONFIRM_LOST_SHARE),
        slow_before=some("slow before", _SLOW_BEFORE_SHARE),
        slow_inside=some("slow inside", _SLOW_INSIDE_SHARE),
        report_lost=some("report lost", _REPORT_LOST_SHARE),
    )


def kills(seed: int, orders: int, victims: Sequence[str]) -> list[Kill]:
    """Who is killed when: each at least twice, spread over the whole run, in the order of the kills."""
    chance = random.Random(f"{seed}/kills")
    planned = []
    for victim in victims:
        count = _KILLS_EACH_MIN + (chance.random() < _ONE_KILL_MORE)
        width = (_LAST_KILL - _FIRST_KILL) / count
        for slot in range(count):
            fraction = _FIRST_KILL + width * (slot + chance.random())
            planned.append(Kill(victim, int(orders * fraction), chance.uniform(0, _KILL_DELAY_MAX_SECONDS)))
    return sorted(planned, key=lambda kill: kill.after_orders)


def item_and_quantity(seed: int, number: int) -> tuple[str, int]:
    """What order `number` asks for: the same however often it is tried."""
    chance = random.Random(f"{seed}/order/{number}")
    return chance.choice(ITEMS), chance.randint(1, 5)
