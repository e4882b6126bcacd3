"""Who watches: a live display on a terminal, a line now and then in a log, nobody for `--json`."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aftercommit.cli.demo.books import Figures

_LINE_EVERY_SECONDS: Final = 2.0
_BAR_WIDTH: Final = 60


class Nobody:
    """Watches nothing."""

    def look(self, figures: Figures, kills: dict[str, int]) -> None:
        """Look away."""

    def hear(self, event: str) -> None:
        """Do not listen."""

    def watching(self) -> AbstractContextManager[object]:
        """Nothing to set up."""
        return nullcontext()


class LogReader:
    """Gets a plain line every two seconds."""

    def __init__(self, console: Console, orders: int) -> None:
        self._console = console
        self._orders = orders
        self._next_line_at = 0.0

    def look(self, figures: Figures, kills: dict[str, int]) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if now >= self._next_line_at:
            self._next_line_at = now + _LINE_EVERY_SECONDS
            shown = ", ".join(f"{name} {value}" for name, value in _rows(figures, kills))
            self._console.print(f"{figures.placed}/{self._orders} orders placed: {shown}", soft_wrap=True)

    def hear(self, event: str) -> None:
        """Print it."""
        self._console.print(event, soft_wrap=True)

    def watching(self) -> AbstractContextManager[object]:
        """Nothing to set up."""
        return nullcontext()


class Spectator:
    """Sits before a terminal that redraws the figures in place."""

    def __init__(self, console: Console, orders: int) -> None:
        self._console = console
        self._orders = orders
        self._live = Live(console=console, refresh_per_second=10, transient=True)

    def look(self, figures: Figures, kills: dict[str, int]) -> None:
        """Redraw."""
        rows = Table.grid(padding=(0, 2))
        for name, value in (("orders placed", f"{figures.placed} of {self._orders}"), *_rows(figures, kills)):
            rows.add_row(Text(name, style="dim"), Text(value))
        bar = ProgressBar(total=self._orders, completed=figures.placed, width=_BAR_WIDTH)
        self._live.update(Group(bar, rows))

    def hear(self, event: str) -> None:
        """Print it above the figures."""
        self._console.print(event, highlight=False)

    def watching(self) -> AbstractContextManager[object]:
        """Take the terminal, and give it back."""
        return self._live


def audience_for(console: Console, orders: int) -> LogReader | Spectator:
    """Who watches through this console."""
    return Spectator(console, orders) if console.is_terminal else LogReader(console, orders)


def _rows(figures: Figures, kills: dict[str, int]) -> tuple[tuple[str, str], ...]:
    checks = ", ".join(f"{count} {outcome}" for outcome, count in figures.checks.items() if count)
    return (
        ("committed", str(figures.committed)),
        ("rolled back", str(figures.declined)),
        ("confirms lost", str(figures.confirms_lost)),
        ("checks answered", f"{sum(figures.checks.values())}" + (f" ({checks})" if checks else "")),
        ("delivered", str(figures.delivered)),
        ("duplicates suppressed", str(figures.duplicates)),
        ("reports lost", str(figures.reports_lost)),
        ("killed", ", ".join(f"{name} {count}" for name, count in kills.items())),
    )
