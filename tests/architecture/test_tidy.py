"""The tree keeps its own rules, and each rule catches an offender that is planted for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import floors, habits
from tests.architecture.tree import Tree, read_tree

REPOSITORY = Path(__file__).parents[2]
RULES = (
    floors.imports_go_down,
    floors.the_root_imports_nothing,
    floors.low_floors_stay_pure,
    floors.no_circles,
    *habits.RULES,
)
PACKAGE = "src/aftercommit"
SPELLED = "TO" + "DO"


@pytest.fixture(scope="module")
def repository() -> Tree:
    return read_tree(REPOSITORY)


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[dict[str, str]], Tree]:
    """A tree made of the given files; each gets a docstring unless it begins with a line break."""

    def plant(files: dict[str, str]) -> Tree:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text if text.startswith("\n") else f'"""A file."""\n{text}\n')
        return read_tree(tmp_path)

    return plant


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule, repository):
    offences = rule(repository)

    assert not offences, "\n" + "\n".join(offences)


def test_the_whole_repository_is_read(repository):
    paths = {file.path for file in repository.files}

    assert {f"{PACKAGE}/__init__.py", f"{PACKAGE}/domain/__init__.py"} <= paths
    assert "tests/architecture/test_tidy.py" in paths


FORBIDDEN_IMPORTS = [
    ("domain/message.py", "from aftercommit.ports import store"),
    ("domain/message.py", "import aftercommit.service.intake"),
    ("wire.py", "from aftercommit.domain import lifecycle"),
    ("signatures.py", "from aftercommit import wire"),
    ("ports/store.py", "from aftercommit import settings"),
    ("settings.py", "from aftercommit.sdk import client"),
    ("sdk/client.py", "from aftercommit.domain import message"),
    ("sdk/client.py", "from ..domain import message"),
    ("service/intake.py", "from aftercommit.stores.memory import MemoryStore"),
    ("service/intake.py", "def late():\n    from aftercommit.telemetry import metrics"),
    ("stores/memory.py", "if TYPE_CHECKING:\n    from aftercommit.api import routes"),
    ("brokers/memory.py", "from aftercommit.stores import memory"),
    ("dashboard/pages.py", "from aftercommit.api import routes"),
    ("api/routes.py", "from aftercommit.assembly import assemble"),
    ("assembly.py", "from aftercommit import cli"),
    ("cellar/wine.py", "import json"),
    ("api/routes.py", "from aftercommit.cellar import wine"),
]


@pytest.mark.parametrize(("path", "code"), FORBIDDEN_IMPORTS)
def test_an_import_that_does_not_go_down_is_found(planted, path, code):
    tree = planted({f"{PACKAGE}/{path}": code, f"{PACKAGE}/api/cellar.py": "", f"{PACKAGE}/telemetry/x.py": ""})
    if "cellar import" in code:
        tree = planted({f"{PACKAGE}/cellar/__init__.py": ""})

    assert any(path in offence for offence in floors.imports_go_down(tree))


ALLOWED_IMPORTS = [
    ("domain/message.py", "from aftercommit import wire"),
    ("domain/message.py", "from aftercommit.domain.errors import RolledBack"),
    ("ports/store.py", "from aftercommit.domain.message import Message"),
    ("settings.py", "from aftercommit.domain import policies"),
    ("sdk/client.py", "from aftercommit import __version__, wire"),
    ("sdk/client.py", "from . import transport"),
    ("sdk/client.py", "from aftercommit.signatures import verify"),
    ("service/intake.py", "from aftercommit.ports.store import Store"),
    ("assembly.py", "from aftercommit.stores.memory import MemoryStore"),
    ("cli/demo.py", "from aftercommit.sdk.clients.client import Client"),
    ("api/routes.py", "import json, starlette.routing"),
    ("__main__.py", "from aftercommit.cli.main import main"),
]


@pytest.mark.parametrize(("path", "code"), ALLOWED_IMPORTS)
def test_an_import_that_goes_down_is_allowed(planted, path, code):
    tree = planted({f"{PACKAGE}/{path}": code, f"{PACKAGE}/__init__.py": ""})

    assert floors.imports_go_down(tree) == []


@pytest.mark.parametrize("code", ["import msgspec, aiohttp", "from sqlalchemy.sql import text"])
def test_a_third_party_import_in_the_domain_is_found(planted, code):
    tree = planted({f"{PACKAGE}/domain/message.py": code})

    assert len(floors.low_floors_stay_pure(tree)) == 1


def test_the_domain_may_use_the_standard_library_and_msgspec(planted):
    tree = planted({f"{PACKAGE}/domain/message.py": "import enum\nimport msgspec\nfrom aftercommit import wire"})

    assert floors.low_floors_stay_pure(tree) == []


def test_an_import_in_the_root_is_found(planted):
    tree = planted({f"{PACKAGE}/__init__.py": "from aftercommit.sdk.clients.client import Client"})

    assert len(floors.the_root_imports_nothing(tree)) == 1


def test_a_circle_is_found_even_if_one_of_its_imports_is_for_types_only(planted):
    tree = planted(
        {
            f"{PACKAGE}/domain/message.py": "from aftercommit.domain import policies",
            f"{PACKAGE}/domain/policies.py": "from aftercommit.domain.errors import Refusal",
            f"{PACKAGE}/domain/errors.py": "if TYPE_CHECKING:\n    from .message import Message",
        }
    )

    [offence] = floors.no_circles(tree)
    assert "aftercommit.domain.message -> aftercommit.domain.policies -> aftercommit.domain.errors" in offence * 2


def test_a_diamond_is_not_a_circle(planted):
    tree = planted(
        {
            f"{PACKAGE}/domain/__init__.py": "",
            f"{PACKAGE}/domain/top.py": "from aftercommit.domain import left, right",
            f"{PACKAGE}/domain/left.py": "from aftercommit.domain import bottom",
            f"{PACKAGE}/domain/right.py": "from aftercommit.domain import bottom",
            f"{PACKAGE}/domain/bottom.py": "",
        }
    )

    assert floors.no_circles(tree) == []


LONG_FUNCTION = "def long():\n" + "    x = 1\n" * 70
OFFENDERS = [
    (habits.files_fit_one_sitting, f"{PACKAGE}/x.py", "x = 1\n" * 400),
    (habits.functions_fit_one_screen, f"{PACKAGE}/x.py", LONG_FUNCTION),
    (
        habits.functions_fit_one_screen,
        "benchmarks/x.py",
        "class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    "),
    ),
    (habits.files_have_telling_names, f"{PACKAGE}/utils.py", ""),
    (habits.files_have_telling_names, f"{PACKAGE}/helpers/retry.py", ""),
    (habits.files_have_telling_names, "tests/common.py", ""),
    (habits.modules_say_what_they_are, f"{PACKAGE}/x.py", "\nx = 1\n"),
    (habits.modules_say_what_they_are, "tests/x.py", "\n"),
    (habits.nothing_is_left_unfinished, f"{PACKAGE}/x.py", f"x = 1  # {SPELLED}: more"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/service/x.py", "import time\ntime.time()"),
    (
        habits.clocks_and_chance_are_injected,
        f"{PACKAGE}/service/x.py",
        "import time as t\nclock = t.monotonic",
    ),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/api/x.py", "from time import monotonic as m\nm()"),
    (
        habits.clocks_and_chance_are_injected,
        f"{PACKAGE}/x.py",
        "from datetime import datetime\ndatetime.now()",
    ),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "import datetime as d\nd.datetime.utcnow()"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "import random\nrandom.uniform(0, 1)"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "from random import choice\nchoice([1])"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "import uuid\nuuid.uuid4()"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "from uuid_utils import uuid7\nuuid7()"),
    (habits.tests_do_not_sleep, "tests/test_x.py", "import time\ntime.sleep(1)"),
    (
        habits.tests_do_not_sleep,
        "tests/test_x.py",
        "from asyncio import sleep\nasync def a():\n    await sleep(0.1)",
    ),
    (habits.only_the_command_line_prints, f"{PACKAGE}/service/x.py", "print(1)"),
    (habits.only_the_command_line_prints, "tests/test_x.py", "print(1)"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/service/x.py", "x = {'sent': 1}"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/domain/message.py", "x = 'pending_send'"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/domain/errors.py", "x = 'completed'"),
    (habits.errors_are_never_swallowed, f"{PACKAGE}/x.py", "try:\n    x = 1\nexcept OSError:\n    pass"),
    (habits.errors_are_never_swallowed, f"{PACKAGE}/x.py", "try:\n    x = 1\nexcept OSError:\n    ..."),
    (habits.errors_are_never_swallowed, "tests/x.py", "try:\n    x = 1\nexcept:\n    raise"),
    (habits.errors_are_never_swallowed, f"{PACKAGE}/x.py", "with contextlib.suppress(Exception):\n    x = 1"),
]


@pytest.mark.parametrize(("rule", "path", "code"), OFFENDERS)
def test_an_offender_is_found_and_its_place_is_named(planted, rule, path, code):
    [offence] = rule(planted({path: code}))

    assert offence.startswith(f"{path}:")


def test_every_habit_has_an_offender():
    assert {rule for rule, _path, _code in OFFENDERS} == set(habits.RULES)


INNOCENTS = [
    (habits.files_fit_one_sitting, f"{PACKAGE}/x.py", "x = 1\n" * 398),
    (habits.functions_fit_one_screen, f"{PACKAGE}/x.py", LONG_FUNCTION.removesuffix("    x = 1\n")),
    (habits.files_have_telling_names, f"{PACKAGE}/database.py", ""),
    (habits.nothing_is_left_unfinished, "tests/x.py", f"x = 1  # {SPELLED}"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/clocks.py", "import time\ntime.time()"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/sdk/x.py", "import uuid_utils\nuuid_utils.uuid7()"),
    (
        habits.clocks_and_chance_are_injected,
        f"{PACKAGE}/x.py",
        "import random\nrandom.Random(7).uniform(0, 1)",
    ),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "import uuid\nuuid.UUID(int=1)"),
    (habits.clocks_and_chance_are_injected, f"{PACKAGE}/x.py", "def due(clock):\n    return clock.now()"),
    (
        habits.tests_do_not_sleep,
        "tests/test_x.py",
        "import asyncio\nasync def a():\n    await asyncio.sleep(0)",
    ),
    (habits.tests_do_not_sleep, "tests/e2e/test_x.py", "import time\ntime.sleep(1)"),
    (habits.only_the_command_line_prints, f"{PACKAGE}/cli/x.py", "print(1)"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/domain/lifecycle.py", "x = 'sent'"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/domain/errors.py", "x = 'rolled_back'"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/sdk/outcome.py", "x = 'rolled_back'"),
    (habits.statuses_live_in_the_lifecycle, f"{PACKAGE}/service/x.py", "x = 'the message was sent'"),
    (habits.errors_are_never_swallowed, f"{PACKAGE}/x.py", "with suppress(OSError):\n    x = 1"),
]


@pytest.mark.parametrize(("rule", "path", "code"), INNOCENTS)
def test_an_innocent_file_is_left_in_peace(planted, rule, path, code):
    assert rule(planted({path: code})) == []


def test_every_status_exception_has_a_reason():
    assert all(words and reason for words, reason in habits.MAY_NAME_STATUSES.values())
