"""The floors of the package: who may import whom, and that nobody imports in a circle."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from tests.architecture.tree import PACKAGE, SourceFile, Tree

# A room is a module or package right below `aftercommit`. It may import rooms on lower floors, and itself.
FLOORS = {
    "domain": 1,
    "wire": 1,
    "signatures": 1,
    "ports": 2,
    "settings": 2,
    "sdk": 2,
    "service": 3,
    "stores": 3,
    "brokers": 3,
    "checkbacks": 3,
    "telemetry": 3,
    "clocks": 3,
    "api": 4,
    "dashboard": 4,
    "doctor": 4,
    "testing": 5,
    "assembly": 5,
    "cli": 6,
    "__main__": 7,
}

# These rooms may import, apart from themselves, only the rooms listed, whatever their floor.
ONLY_ROOMS = {
    "domain": {"wire"},
    "wire": set(),
    "signatures": set(),
    "sdk": {"wire", "signatures"},
}

# These rooms may import, apart from the standard library, only the packages listed.
ONLY_PACKAGES = {
    "domain": {"msgspec"},
    "wire": {"msgspec"},
    "signatures": set(),
}


def imports_go_down(tree: Tree) -> list[str]:
    """Every import inside the package leads to a lower floor or stays in its room."""
    modules = tree.modules()
    offences = []
    for file in modules.values():
        room = _room(file.module)
        if not room:
            continue
        if room not in FLOORS:
            offences.append(f"{file.path}: the room {room!r} has no floor; give it one in FLOORS.")
            continue
        for node, target in imported_modules(file, modules):
            other = _room(target)
            if other and other != room and not _may_import(room, other):
                offences.append(f"{file.at(node)}: {_why_not(room, other)}")
    return offences


def the_root_imports_nothing(tree: Tree) -> list[str]:
    """`aftercommit/__init__.py` stays free of imports, so that every room may read the version from it."""
    root = tree.modules().get(PACKAGE)
    if root is None:
        return []
    return [
        f"{root.at(node)}: {PACKAGE}/__init__.py imports nothing; import from the room that has the name."
        for node in ast.walk(root.syntax)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def low_floors_stay_pure(tree: Tree) -> list[str]:
    """The domain and the wire shapes use the standard library and msgspec, nothing else."""
    offences = []
    for file in tree.modules().values():
        room = _room(file.module)
        if room not in ONLY_PACKAGES:
            continue
        allowed = ONLY_PACKAGES[room] | sys.stdlib_module_names | {PACKAGE}
        for node, name in _imported_names(file):
            package = name.split(".", 1)[0]
            if package not in allowed:
                offences.append(
                    f"{file.at(node)}: {room} may not import {package}; besides the standard library it uses "
                    f"only {_listed(ONLY_PACKAGES[room])}."
                )
    return offences


def no_circles(tree: Tree) -> list[str]:
    """No module imports itself by way of others; imports made only for types, or late, count too."""
    modules = tree.modules()
    graph = {
        name: {target for _, target in imported_modules(file, modules) if target != name}
        for name, file in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # graphlib lists a circle from the imported to the importer; a reader wants it the other way round.
        circle = " -> ".join(reversed(error.args[1]))
        return [f"These modules import each other in a circle: {circle}. Move what they share below them."]
    return []


def imported_modules(file: SourceFile, modules: dict[str, SourceFile]) -> Iterator[tuple[ast.stmt, str]]:
    """Each import of `file` that leads into the package, with the longest module name that exists.

    An import of something that is not there yet keeps its room, so that the floors judge it all the same.
    """
    for node, name in _imported_names(file):
        parts = name.split(".")
        if parts[0] != PACKAGE:
            continue
        while len(parts) > 1 and ".".join(parts) not in modules and not _is_missing_room(parts, modules):
            parts.pop()
        yield node, ".".join(parts)


def _is_missing_room(parts: list[str], modules: dict[str, SourceFile]) -> bool:
    return len(parts) == 2 and parts[1] in FLOORS and ".".join(parts) not in modules


def _imported_names(file: SourceFile) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(file.syntax):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(file, node)
            yield from ((node, f"{origin}.{alias.name}") for alias in node.names)


def _origin(file: SourceFile, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = file.module.split(".")
    steps = node.level - 1 if file.is_package else node.level
    parents = package[: len(package) - steps]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _may_import(room: str, other: str) -> bool:
    if room in ONLY_ROOMS:
        return other in ONLY_ROOMS[room]
    return other in FLOORS and FLOORS[other] < FLOORS[room]


def _why_not(room: str, other: str) -> str:
    if room in ONLY_ROOMS:
        return f"{room} may not import {other}; of the package it knows only {_listed(ONLY_ROOMS[room])}."
    if other not in FLOORS:
        return f"{room} imports {other}, which has no floor; give it one in FLOORS."
    if FLOORS[other] == FLOORS[room]:
        return f"{room} may not import {other}: both are on floor {FLOORS[room]}; meet in a port or in assembly."
    return f"{room} (floor {FLOORS[room]}) may not import {other} (floor {FLOORS[other]}): imports only go down."


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "itself"
