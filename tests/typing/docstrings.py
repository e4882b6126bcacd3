"""The public names of a module, and the examples in their docstrings."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

INDENT = "    "


@dataclass(frozen=True, slots=True)
class Documented:
    """A public thing and what it says of itself. `where` is dotted: `aftercommit.sdk.Client.prepare`."""

    where: str
    docstring: str

    @property
    def example(self) -> str:
        """The Python in the docstring, every block of it as one program; empty if there is none."""
        return example_of(self.docstring)


def public_names(module: ModuleType) -> Iterator[Documented]:
    """What `__all__` names, in its order."""
    for name in module.__all__:
        yield Documented(f"{module.__name__}.{name}", _own_docstring(getattr(module, name)))


def everything_public(module: ModuleType) -> Iterator[Documented]:
    """The module itself, its public names, and the public methods and properties of its classes."""
    yield Documented(module.__name__, _own_docstring(module))
    yield from public_names(module)
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing):
            yield from _members(f"{module.__name__}.{name}", thing)


def example_of(docstring: str) -> str:
    """The indented blocks of a docstring, joined to one program.

    A formatter takes the indent away where nothing but the example follows the summary. There, what follows is the
    example if it is Python that calls something, which no prose is.
    """
    _summary, _blank, rest = inspect.cleandoc(docstring).partition("\n\n")
    if _calls_something(rest):
        return rest
    lines = [line for line in rest.splitlines() if line.startswith(INDENT) or not line.strip()]
    return textwrap.dedent("\n".join(lines)).strip("\n")


def _members(where: str, kind: type) -> Iterator[Documented]:
    """Inherited ones too, if they come from this package: a user does not see where a method is written."""
    for name, member in inspect.getmembers(kind):
        plain = member.fget if isinstance(member, property) else member
        ours = getattr(plain, "__module__", None) or ""
        if not name.startswith("_") and callable(plain) and ours.startswith("aftercommit"):
            yield Documented(f"{where}.{name}", _own_docstring(plain))


def _own_docstring(thing: Any) -> str:
    """What a class says itself; its parent's words are not about it."""
    said = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
    return said if isinstance(said, str) else ""


def _calls_something(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))
