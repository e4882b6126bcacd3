"""The habits of the code that a formatter cannot see: sizes, names, clocks, statuses, swallowed errors."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from tests.architecture.tree import SOURCE, SourceFile, Tree

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "base", "manager", "managers", "misc"}

# Reading a clock or drawing chance: by full name, or everything a module has by `module.*`.
CLOCKS_AND_CHANCE = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "random.*",
    "uuid.uuid*",
    "uuid_utils.uuid*",
    "uuid_utils.compat.uuid*",
}
SEEDED_GENERATOR = "random.Random"
# The clock adapter, and the clients: they run in other people's processes, where nobody injects a clock.
MAY_READ_CLOCKS = ("clocks.py", "cli/", "sdk/")

SLEEPS = {"time.sleep", "asyncio.sleep"}
# In the races real processes take their time, so that others come in between; the proxy delays what it forwards.
MAY_SLEEP = ("tests/stories/", "tests/e2e/", "tests/examples/", "tests/races/", "tests/servers/proxy.py")

STATUSES = frozenset(
    {
        "pending_confirmation",
        "pending_send",
        "sent",
        "completed",
        "rolled_back",
        "failed",
        "undecided",
        "undelivered",
    }
)
# Where a status may stand as a literal (a file, or a folder ending in a slash): which words, and why.
MAY_NAME_STATUSES: dict[str, tuple[frozenset[str], str]] = {
    "domain/lifecycle.py": (STATUSES, "the transition table is where statuses are defined"),
    "domain/commands.py": (frozenset({"rolled_back"}), "the outcome of a check has the same word"),
    "domain/errors.py": (frozenset({"rolled_back"}), "the stable code of that refusal has the same word"),
    "wire.py": (STATUSES, "the shapes on the wire spell statuses and outcomes out"),
    "sdk/": (STATUSES, "a client knows the wire only, not the lifecycle"),
    "stores/sqlite/schema.py": (STATUSES, "statuses rendered in SQL"),
}

# Spelled in halves, or this file would be an offence itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")


def files_fit_one_sitting(tree: Tree) -> list[str]:
    """No file is longer than 400 lines."""
    return [
        f"{file.path}: {lines} lines, at most {FILE_LINES_MAX}; it is more than one noun, split it."
        for file in tree.files
        if (lines := len(file.text.splitlines())) > FILE_LINES_MAX
    ]


def functions_fit_one_screen(tree: Tree) -> list[str]:
    """No function is longer than 70 lines."""
    return [
        f"{file.at(node)}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}; move the leaves out."
        for file in tree.files
        for node in ast.walk(file.syntax)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def files_have_telling_names(tree: Tree) -> list[str]:
    """No file or folder is called utils or the like."""
    return [
        f"{file.path}: {part!r} says nothing; name it after the noun inside."
        for file in tree.files
        for part in PurePosixPath(file.path).with_suffix("").parts
        if part in VAGUE_NAMES
    ]


def modules_say_what_they_are(tree: Tree) -> list[str]:
    """Every module begins with a docstring."""
    return [
        f"{file.path}: no docstring; begin with one sentence that says what the file is."
        for file in tree.files
        if not ast.get_docstring(file.syntax)
    ]


def nothing_is_left_unfinished(tree: Tree) -> list[str]:
    """The package has no notes to self and no empty shells."""
    return [
        f"{file.path}:{number}: {found.group()} in the package; finish it, or file an issue and take it out."
        for file in tree.in_areas("src")
        for number, line in enumerate(file.text.splitlines(), 1)
        if (found := UNFINISHED.search(line))
    ]


def clocks_and_chance_are_injected(tree: Tree) -> list[str]:
    """Only the clock adapter and the clients read a clock, draw chance or make ids."""
    return [
        f"{file.at(node)}: {name} outside clocks.py; take the time, the generator or the id as an argument."
        for file in tree.in_areas("src")
        if not _listed_in(file.inner_path, MAY_READ_CLOCKS)
        for node, name in _used_names(file)
        if name != SEEDED_GENERATOR and _matches(name, CLOCKS_AND_CHANCE)
    ]


def tests_do_not_sleep(tree: Tree) -> list[str]:
    """Tests wait for what they want to see, not for a time; `asyncio.sleep(0)` only gives way."""
    offences = []
    for file in tree.in_areas("tests"):
        if _listed_in(file.path, MAY_SLEEP):
            continue
        giving_way = {id(call.func) for call in _calls(file.syntax) if _has_only_zero(call)}
        offences += [
            f"{file.at(node)}: {name} in a test; use the manual clock, an event, or wait for the condition."
            for node, name in _used_names(file)
            if name in SLEEPS and id(node) not in giving_way
        ]
    return offences


def only_the_command_line_prints(tree: Tree) -> list[str]:
    """`print` is for the command line and the benchmarks; everything else logs or returns."""
    return [
        f"{file.at(node)}: print outside the command line; log it, or return it."
        for file in tree.in_areas("src", "tests")
        if not file.inner_path.startswith("cli/")
        for node in _calls(file.syntax)
        if _dotted(node.func) == ["print"]
    ]


def statuses_live_in_the_lifecycle(tree: Tree) -> list[str]:
    """A status is written as a literal only in the transition table and where it must be rendered."""
    return [
        f"{file.at(node)}: the status {node.value!r} as a literal; use the enum of domain/lifecycle.py."
        for file in tree.in_areas("src")
        for node in _whole_strings(file.syntax)
        if node.value in STATUSES and node.value not in _statuses_allowed_in(file)
    ]


def errors_are_never_swallowed(tree: Tree) -> list[str]:
    """Nobody catches everything, and nobody drops what was caught."""
    offences = []
    for file in tree.files:
        for node in ast.walk(file.syntax):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                offences.append(f"{file.at(node)}: a bare except; name the exceptions that can come.")
            if isinstance(node, ast.ExceptHandler) and all(_does_nothing(line) for line in node.body):
                offences.append(f"{file.at(node)}: an exception swallowed; answer it, log it or let it pass.")
            if isinstance(node, ast.Call) and _suppresses_everything(node):
                offences.append(f"{file.at(node)}: suppress() of everything; name the exceptions that can come.")
    return offences


RULES: tuple[Callable[[Tree], list[str]], ...] = (
    files_fit_one_sitting,
    functions_fit_one_screen,
    files_have_telling_names,
    modules_say_what_they_are,
    nothing_is_left_unfinished,
    clocks_and_chance_are_injected,
    tests_do_not_sleep,
    only_the_command_line_prints,
    statuses_live_in_the_lifecycle,
    errors_are_never_swallowed,
)


def _listed_in(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def _matches(name: str, patterns: set[str]) -> bool:
    return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns)


def _used_names(file: SourceFile) -> Iterator[tuple[ast.AST, str]]:
    """Every use of an imported name, called or handed on, under its full name."""
    full_names = _full_names(file.syntax)
    for node in ast.walk(file.syntax):
        if isinstance(node, ast.Attribute | ast.Name):
            first, *rest = _dotted(node)
            if first in full_names:
                yield node, ".".join([full_names[first], *rest])


def _full_names(syntax: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(syntax):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".", 1)[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [""]


def _calls(syntax: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(syntax) if isinstance(node, ast.Call))


def _has_only_zero(call: ast.Call) -> bool:
    argument = call.args[0] if len(call.args) == 1 else None
    return isinstance(argument, ast.Constant) and argument.value == 0


def _whole_strings(syntax: ast.Module) -> Iterator[ast.Constant]:
    pieces = {id(piece) for node in ast.walk(syntax) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(syntax):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield node


def _statuses_allowed_in(file: SourceFile) -> frozenset[str]:
    allowed = (
        words for place, (words, _reason) in MAY_NAME_STATUSES.items() if _listed_in(file.path, (SOURCE + place,))
    )
    return frozenset().union(*allowed)


def _does_nothing(line: ast.stmt) -> bool:
    return isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))


def _suppresses_everything(call: ast.Call) -> bool:
    return _dotted(call.func)[-1] == "suppress" and any(
        _dotted(argument)[-1] in {"Exception", "BaseException"} for argument in call.args
    )
