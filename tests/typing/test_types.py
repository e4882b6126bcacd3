"""The public API passes mypy strict and pyright in a user's program, and they find the user's mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.typing.checkers import mypy_errors, pyright_errors

HERE = Path(__file__).parent
GOOD = HERE / "sample_user.py"
MISTAKEN = HERE / "sample_mistakes.py"
MARK = "# wrong"

Errors = Callable[[Path], dict[int, str]]


@pytest.fixture(params=["mypy", "pyright"])
def errors(request: pytest.FixtureRequest, tmp_path: Path) -> Errors:
    """A type checker: from a program to its errors by line."""
    if request.param == "pyright":
        return lambda program: pyright_errors(program, tmp_path)
    # Kept from run to run, because mypy reads every module that the package imports.
    cache = request.config.cache.mkdir("mypy")
    return lambda program: mypy_errors(program, tmp_path, cache)


def test_a_users_program_passes(errors: Errors):
    assert errors(GOOD) == {}


def test_a_users_mistakes_are_found_and_nothing_else(errors: Errors):
    lines = MISTAKEN.read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if MARK in line}

    assert wrong
    assert set(errors(MISTAKEN)) == wrong
