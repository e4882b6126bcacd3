"""The examples in the kit's docstrings run as they stand there."""

import ast
import inspect
import re
import sqlite3
import textwrap
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aftercommit.testing
from aftercommit import testing
from aftercommit.sdk import PulledMessage
from aftercommit.sdk.barrier.barrier import Barrier
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import InMemoryService

CLASSES = [found for name in testing.__all__ if inspect.isclass(found := getattr(testing, name))]
METHODS = [
    member
    for each in (InMemoryService, testing.Server)
    for name, member in inspect.getmembers(each, inspect.isfunction)
    if not name.startswith("_")
]


def test_every_class_has_an_example():
    assert [each.__name__ for each in CLASSES if not _blocks(each.__doc__ or "")] == []


@pytest.mark.parametrize(
    "documented",
    [aftercommit.testing, testing.server, *CLASSES, *METHODS],
    ids=lambda each: getattr(each, "__qualname__", each.__name__),
)
def test_the_example_runs(documented: Any, service: InMemoryService, tmp_path: Path):
    names = _names(service, tmp_path)
    if documented in (InMemoryService.drain, testing.Receiver, testing.Drained, InMemoryService.assert_published):
        names["pay"](42)

    for block in _blocks(documented.__doc__ or ""):
        exec(compile(block, documented.__name__, "exec"), names)  # noqa: S102 - our own docstrings


def _names(service: InMemoryService, folder: Path) -> dict[str, Any]:
    """What the examples take for granted."""
    client = service.client(app="orders")
    billing = service.client(app="billing")
    bills: Counter[str] = Counter()

    def pay(number: int) -> None:
        message = client.prepare("orders.created", {"order": number, "total": 9.5}, key=str(number))
        service.probe(Point.AFTER_PREPARE)
        service.probe(Point.AFTER_COMMIT)
        client.confirm(message.id)

    def bill(message: PulledMessage) -> None:
        bills[message.key or ""] += 1

    return {
        **{name: getattr(testing, name) for name in testing.__all__},
        **{"aftercommit": aftercommit, "service": service, "client": billing, "folder": folder},
        **{"Barrier": Barrier, "Outcome": Outcome, "Point": Point, "Receipt": Receipt},
        **{"pay": pay, "bill": bill, "bills": bills, "session": None},
        "orders": lambda session: [SimpleNamespace(id=int(each)) for each in bills],
        "engine": lambda: sqlite3.connect(folder / "shop.db"),
    }


def _blocks(docstring: str) -> list[str]:
    """The code in a docstring: all of it after the first paragraph, or what is indented below the rest of the text."""
    rest = inspect.cleandoc(docstring).partition("\n\n")[2]
    if rest and _is_code(rest):
        return [rest]
    paragraphs = re.findall(r"(?:^    .*\n?|^\n(?=    ))+", rest, re.MULTILINE)
    return [code for each in paragraphs if (code := textwrap.dedent(each).strip())]


def _is_code(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
