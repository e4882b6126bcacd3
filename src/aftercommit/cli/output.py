"""What commands print: one JSON document for programs, tables for people, plain columns where nobody looks."""

from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

_GAP = "  "


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their headings: drawn on a terminal, aligned columns with nothing cut off elsewhere."""
    cells = [[shown(cell) for cell in row] for row in rows]
    # Imported here, because nothing else of the command line needs it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        click.echo("\n".join(_aligned([list(columns), *cells])))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; what is None is left out."""
    click.echo("\n".join(_aligned([[name, shown(value)] for name, value in fields if value is not None])))


def print_heading(text: str) -> None:
    """Print a heading with a line of space above."""
    click.echo()
    click.secho(text, bold=True)


def shown(value: object) -> str:
    """A value as one printable line. Messages carry text of strangers: nothing in it may steer the terminal."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer():
            return str(int(value))
        case list() | tuple():
            return ", ".join(shown(each) for each in value) or "-"
        case dict():
            return ", ".join(f"{shown(name)}={shown(each)}" for name, each in value.items()) or "-"
        case _:
            return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(value))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
