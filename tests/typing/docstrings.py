"""The public names of a module, and the examples in their docstrings."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

INDENT = "    "


@dataclass(frozen=True, slots=True)
class Documented:
    """A public thing and what it says of itself. `name`: in `module`, `Client.prepare`; empty for the module itself."""

    module: str
    name: str
    docstring: str

    @property
    def where(self) -> str:
        """Where a user finds it."""
        return f"{self.module}.{self.name}".rstrip(".")

    @property
    def example(self) -> str:
        """The Python in the docstring, every block of it as one program; empty if there is none."""
        return example_of(self.docstring)


def public_names(module: ModuleType, names: Sequence[str] = ()) -> Iterator[Documented]:
    """These names; without any what `__all__` names, or else the classes and functions that are written there."""
    for name in names or _names_of(module):
        yield Documented(module.__name__, name, _own_docstring(getattr(module, name)))


def everything_public(module: ModuleType, names: Sequence[str] = ()) -> Iterator[Documented]:
    """The module itself, its public names, and the public methods and properties of its classes."""
    yield Documented(module.__name__, "", _own_docstring(module))
    for public in public_names(module, names):
        yield public
        thing = getattr(module, public.name)
        if inspect.isclass(thing):
            yield from _members(public, thing)


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


def _names_of(module: ModuleType) -> list[str]:
    written_here = [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]
    return list(getattr(module, "__all__", written_here))


def _members(public: Documented, kind: type) -> Iterator[Documented]:
    """Inherited ones too, if they come from this package: a user does not see where a method is written."""
    for name, member in inspect.getmembers(kind):
        plain = member.fget if isinstance(member, property) else member
        ours = getattr(plain, "__module__", None) or ""
        if not name.startswith("_") and callable(plain) and ours.startswith("aftercommit"):
            yield Documented(public.module, f"{public.name}.{name}", _own_docstring(plain))


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
