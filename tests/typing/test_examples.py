"""Every public name has a docstring with an example, and the examples run."""

from collections.abc import Iterator
from importlib import import_module

import pytest

from aftercommit import testing
from tests.typing.docstrings import Documented, everything_public, example_of, public_names
from tests.typing.scenery import NOT_RUN, compile_example, run_example

# Each has an `__all__`. A new part that users import is added here.
MODULES = ["aftercommit.sdk"]

PUBLIC = [each for module in MODULES for each in public_names(import_module(module))]
EXAMPLES = [each for module in MODULES for each in everything_public(import_module(module)) if each.example]


@pytest.fixture(scope="module")
def service_url() -> Iterator[str]:
    """A real node for the examples."""
    with testing.server() as node:
        yield node.url


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.where)
def test_a_public_name_says_what_it_is(public: Documented):
    assert public.docstring.strip()


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.where)
def test_a_public_name_has_an_example(public: Documented):
    assert public.example, f"The docstring of {public.where} has no indented example that calls something."


@pytest.mark.parametrize("documented", EXAMPLES, ids=lambda each: each.where)
def test_an_example_runs(documented: Documented, service_url: str):
    if documented.where in NOT_RUN:
        compile_example(documented.example)
    else:
        run_example(documented.example, service_url)


def test_the_list_of_exceptions_names_what_is_there():
    assert {each.where for each in EXAMPLES} >= set(NOT_RUN)


@pytest.mark.parametrize(
    ("docstring", "example"),
    [
        ("Say it.", ""),
        ("Say it.\n\n    More of what it says.\n    ", ""),
        ("Say it.\n\n    say(it)\n    ", "say(it)"),
        ("Say it.\n\n    with it as said:\n        say(said)\n    ", "with it as said:\n    say(said)"),
        ("Say it.\n\n    Prose.\n\n        say(it)\n\n        say(more)\n    ", "say(it)\n\nsay(more)"),
        ("Say it.\n\n    - a list\n      that goes on\n    ", ""),
        ("Say it.\n\n        say(it)\n\n    Or else:\n\n        say(that)\n    ", "say(it)\n\n\nsay(that)"),
    ],
)
def test_an_example_is_found_in_a_docstring(docstring: str, example: str):
    assert example_of(docstring).split() == example.split()


def test_an_example_that_is_wrong_fails(service_url: str):
    with pytest.raises(NameError):
        run_example("client.confirm(nobody_has_this)", service_url)
    with pytest.raises(AttributeError):
        run_example("await client.nonsense()", service_url)
