"""Which savepoints are open, and which moments a rollback has undone."""

import re
from typing import Final

_STATEMENT: Final = re.compile(
    r"\s*(?:(?P<set>SAVEPOINT)|(?P<release>RELEASE(?:\s+SAVEPOINT)?)"
    r"|(?P<undo>ROLLBACK(?:\s+(?:WORK|TRANSACTION))?\s+TO(?:\s+SAVEPOINT)?))\s+(?P<name>[^\s;]+)",
    re.IGNORECASE,
)
_END: Final = re.compile(
    r"\s*(?:COMMIT|END|ROLLBACK|ABORT)(?:\s+(?:WORK|TRANSACTION))?(?:\s+AND\s+(?:NO\s+)?CHAIN)?\s*;?\s*$",
    re.IGNORECASE,
)
_FIRST_LETTERS: Final = frozenset("AaCcEeRrSs \t\n")


class _Savepoint:
    __slots__ = ("name", "undone")

    def __init__(self, name: str) -> None:
        self.name = name
        self.undone = False


class Moment:
    """A moment inside a transaction: what became of everything around it."""

    __slots__ = ("around",)

    def __init__(self, around: tuple[_Savepoint, ...]) -> None:
        self.around = around

    @property
    def ended(self) -> bool:
        """Whether the transaction itself is over, however it ended."""
        return self.around[0].undone

    @property
    def kept(self) -> bool:
        """Whether what was written at this moment is still part of the transaction that is open."""
        return not any(each.undone for each in self.around)


class Savepoints:
    """Told of every savepoint by whoever sees it: the events of a driver or library, or our own `tx.savepoint()`."""

    def __init__(self) -> None:
        self._root = _Savepoint("")
        self._open: list[_Savepoint] = []
        self._released: dict[str, _Savepoint] = {}

    def saw(self, statement: str) -> None:
        """A statement was sent; most have nothing to do with savepoints."""
        if statement[:1] not in _FIRST_LETTERS:
            return
        self.saw_end(statement)
        if found := _STATEMENT.match(statement):
            self._saw_savepoint(found)

    def saw_end(self, statement: str) -> None:
        """A statement was sent that may end the transaction."""
        if statement[:1] in _FIRST_LETTERS and _END.match(statement):
            self.ended()

    def _saw_savepoint(self, found: re.Match[str]) -> None:
        name = found["name"].strip('"`').lower()
        if found["set"]:
            self.opened(name)
        elif found["release"]:
            self.released(name)
        else:
            # In SQL a savepoint outlives a rollback to it, and may be rolled back to again.
            is_open = name in (each.name for each in self._open)
            self.undone(name)
            if is_open:
                self.opened(name)

    def opened(self, name: str) -> None:
        """A savepoint was set."""
        self._open.append(_Savepoint(name))

    def released(self, name: str) -> None:
        """A savepoint, and every one inside it, became part of what is around it."""
        self._released.update((each.name, each) for each in self._pop(name))

    def undone(self, name: str) -> None:
        """Everything since a savepoint was rolled back. May come after its release, where events come in that order."""
        for each in self._pop(name) or [self._released.get(name, _Savepoint(name))]:
            each.undone = True

    def ended(self) -> None:
        """The transaction itself ended: what was watched in it is no part of the next one."""
        self._root.undone = True
        for each in self._open:
            each.undone = True
        self._root, self._open, self._released = _Savepoint(""), [], {}

    def watch(self) -> Moment:
        """The present moment."""
        return Moment((self._root, *self._open))

    def place(self, moment: Moment) -> None:
        """Let a moment be the present one, where it was watched before all was told of what came before it."""
        if not moment.ended:
            moment.around = (self._root, *self._open)

    def _pop(self, name: str) -> list[_Savepoint]:
        names = [each.name for each in self._open]
        if name not in names:
            return []
        # Of two with the same name the inner one is meant.
        first = len(names) - 1 - names[::-1].index(name)
        popped = self._open[first:]
        del self._open[first:]
        return popped
