"""The source tree as the rules see it: every Python file with its text and its syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "aftercommit"
SOURCE = f"src/{PACKAGE}/"
AREAS = ("src", "tests", "benchmarks")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One Python file; `path` is relative to the repository, with forward slashes."""

    path: str
    text: str
    syntax: ast.Module

    @property
    def area(self) -> str:
        """The top folder: src, tests or benchmarks."""
        return self.path.split("/", 1)[0]

    @property
    def inner_path(self) -> str:
        """The path inside the package; empty outside of it."""
        return self.path.removeprefix(SOURCE) if self.path.startswith(SOURCE) else ""

    @property
    def module(self) -> str:
        """The dotted name under which the file is imported."""
        dotted = self.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        return dotted.removesuffix(".__init__")

    @property
    def is_package(self) -> bool:
        """Whether the file is an `__init__.py`."""
        return self.path.endswith("__init__.py")

    def at(self, node: ast.AST) -> str:
        """The place of a node, as an editor understands it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True, slots=True)
class Tree:
    """Every Python file of the repository, in the order of their paths."""

    files: tuple[SourceFile, ...] = field(repr=False)

    def in_areas(self, *areas: str) -> Iterator[SourceFile]:
        """The files of the named top folders."""
        return (file for file in self.files if file.area in areas)

    def modules(self) -> dict[str, SourceFile]:
        """The modules of the package by dotted name."""
        return {file.module: file for file in self.files if file.inner_path}


def read_tree(root: Path) -> Tree:
    """Read every Python file below the known top folders of `root`."""
    paths = [path for area in AREAS for path in (root / area).rglob("*.py")]
    return Tree(tuple(_read_file(root, path) for path in sorted(paths)))


def _read_file(root: Path, path: Path) -> SourceFile:
    relative = path.relative_to(root).as_posix()
    text = path.read_text(encoding="utf-8")
    return SourceFile(path=relative, text=text, syntax=ast.parse(text, filename=relative))
