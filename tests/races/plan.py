"""What a unit of work does, drawn from a seed: the same in every run of the unit, but for the time it takes."""

from dataclasses import dataclass
from random import Random
from typing import Final

STOCK: Final = 8


@dataclass(frozen=True, slots=True)
class Planned:
    """One message. `early`: published before the block. `undone`: published in a savepoint that is rolled back."""

    early: bool = False
    savepoint: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One unit of work.

    `takes`: rows of stock that everybody fights for, in this order. `raises_in`: the runs whose code raises.
    `renumbers`: each run's payloads are another's, as with rows that are numbered by the database.
    """

    messages: tuple[Planned, ...]
    takes: tuple[int, ...]
    raises_in: frozenset[int]
    runs_max: int
    renumbers: bool

    @classmethod
    def drawn(cls, chance: Random) -> "Plan":
        """Some unit."""
        kept = [_message(chance) for _ in range(chance.choice((1, 1, 1, 2, 2, 3)))]
        undone = [Planned(savepoint=True, undone=True)] if chance.random() < 0.12 else []
        late = [each for each in kept if not each.early] + undone
        chance.shuffle(late)
        return cls(
            messages=(*(each for each in kept if each.early), *late),
            takes=tuple(chance.sample(range(STOCK), 2)) if chance.random() < 0.2 else (),
            raises_in=frozenset(run for run in range(3) if chance.random() < 0.12),
            runs_max=chance.choice((1, 2, 3, 4)),
            renumbers=chance.random() < 0.2,
        )


def _message(chance: Random) -> Planned:
    if chance.random() < 0.45:
        return Planned(early=True)
    return Planned(savepoint=chance.random() < 0.2)


def think_seconds(chance: Random) -> float:
    """Mostly next to nothing, often a moment, rarely longer than any lock time-out of a check."""
    drawn = chance.random()
    if drawn < 0.5:
        return 0.0
    if drawn < 0.9:
        return chance.uniform(0.0, 0.03)
    if drawn < 0.98:
        return chance.uniform(0.03, 0.15)
    return chance.uniform(0.15, 0.7)
