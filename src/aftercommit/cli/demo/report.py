"""The end of a demo, told: a table and a sentence for people, one document for programs."""

from typing import Any, Final

from rich.table import Table
from rich.text import Text

from aftercommit.cli.demo.performance import Outcome
from aftercommit.domain.lifecycle import Status

_OFFENDERS_SHOWN: Final = 10


def as_table(outcome: Outcome) -> Table:
    """What each store says, then each question put to them."""
    books = outcome.books
    statuses = list(books.messages.values())
    table = Table(title="The books", title_justify="left", show_header=False)
    for what, count in (
        ("order service: committed orders", len(books.orders)),
        ("order service: orders rolled back on purpose", len(books.declined)),
        ("node: messages completed", statuses.count(Status.COMPLETED)),
        ("node: messages rolled back", statuses.count(Status.ROLLED_BACK)),
        ("stock service: effects", len(books.effects)),
        ("stock service: inbox rows", len(books.inbox)),
        ("stock service: duplicates suppressed", outcome.figures.duplicates),
    ):
        table.add_row(what, str(count))
    table.add_section()
    for finding in outcome.findings:
        count = len(finding.offenders)
        table.add_row(finding.meaning, Text(str(count), style="bold red" if count else "green"))
    return table


def offenders(outcome: Outcome) -> list[str]:
    """Who is to blame, at most ten per question."""
    lines = []
    for finding in outcome.findings:
        lines += [f"{finding.meaning}: {offender}" for offender in finding.offenders[:_OFFENDERS_SHOWN]]
        if len(finding.offenders) > _OFFENDERS_SHOWN:
            lines.append(f"{finding.meaning}: and {len(finding.offenders) - _OFFENDERS_SHOWN} more")
    return lines


def verdict(outcome: Outcome) -> str:
    """The whole demo in a sentence."""
    kills = sum(outcome.kills.values())
    if outcome.matches:
        figures = outcome.figures
        return (
            f"Everything matches: {len(outcome.books.orders)} committed orders = as many completed messages = as many "
            f"stock effects, none lost, none invented, none stuck, through {kills} times kill -9, "
            f"{figures.confirms_lost} lost confirms and {figures.duplicates} suppressed duplicates."
        )
    wrong = ", ".join(f"{len(each.offenders)} {each.meaning}" for each in outcome.findings if each.offenders)
    late = "The deadline came before everything was settled. " if outcome.overdue else ""
    return f"{late}The books do not match after {kills} times kill -9: {wrong or 'nothing else is wrong'}."


def as_document(outcome: Outcome, *, seed: int, chaos: bool, orders: int) -> dict[str, Any]:
    """All figures, as plain values."""
    books, figures = outcome.books, outcome.figures
    statuses = list(books.messages.values())
    return {
        "ok": outcome.matches,
        "verdict": verdict(outcome),
        "seed": seed,
        "orders": orders,
        "chaos": chaos,
        "seconds": outcome.seconds,
        "overdue": outcome.overdue,
        "committed": len(books.orders),
        "declined": len(books.declined),
        "confirms_lost": figures.confirms_lost,
        "checks": figures.checks,
        "messages": {status.value: statuses.count(status) for status in Status},
        "effects": len(books.effects),
        "duplicates_suppressed": figures.duplicates,
        "reports_lost": figures.reports_lost,
        "kills": outcome.kills,
        "findings": {finding.name: list(finding.offenders) for finding in outcome.findings},
    }
