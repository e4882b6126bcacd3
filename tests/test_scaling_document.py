"""The document on scaling names every statement there is, and nothing that is gone."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from aftercommit.stores.sql import statements
from aftercommit.stores.sql.schema import metadata

_ROOT: Final = Path(__file__).parent.parent
_SQL: Final = _ROOT / "src/aftercommit/stores/sql"
_TEXT: Final = (_ROOT / "docs/scaling.md").read_text(encoding="utf-8")
# Fields that say something about a dialect, and texts that stand beside the dialects' sets.
_NO_TEXTS: Final = {"dialect", "waits_for_duplicates"}
_BESIDE: Final = {"CATALOG_VERSION", "PING"}
_MODULES: Final = ("partitions.py", "catalogue.py", "search.py", "tallies.py", "retention.py")


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is `heading`, without its two first lines."""
    lines = _TEXT[_TEXT.index(f"| {heading} |") :].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def _defined(module: str) -> set[str]:
    """The functions, methods and constants of a module of the store."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((_SQL / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_each_statement_of_the_hot_path_is_classified_once() -> None:
    named = [name for row in _rows("statement (`statements.py`)") for name in _names(row[0])]

    assert sorted(named) == sorted((set(statements.Statements._fields) - _NO_TEXTS) | _BESIDE)
    assert all(hasattr(statements, name) for name in _BESIDE)


@pytest.mark.parametrize("module", _MODULES)
def test_what_a_module_is_said_to_ask_is_in_it(module: str) -> None:
    named = {name for row in _rows("module") if row[0] == f"`{module}`" for name in _names(row[1])}

    assert named
    assert named <= _defined(module)


def test_the_indexes_it_names_exist() -> None:
    named = set(re.findall(r"`((?:message|delivery)_\w+)`", _TEXT)) - set(statements.Statements._fields)
    there = {str(index.name) for table in metadata("postgresql").tables.values() for index in table.indexes}

    assert named == there
