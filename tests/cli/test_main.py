"""The command as a whole: help, version, exit codes, and that nothing is loaded before it is needed."""

import subprocess
import sys

import click
import pytest

from aftercommit import __version__
from aftercommit.cli.errors import failure_of
from aftercommit.cli.exit_codes import EXIT_CODES_HELP, ExitCode
from aftercommit.cli.main import main
from aftercommit.domain.errors import ConfigurationError, Inconsistency
from aftercommit.sdk import Conflict, Denied, Invalid, NotFound, RolledBack, Unavailable, Unexpected, Unreachable
from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer
from tests.sdk.answering import ID, refused


def test_the_version_is_told(command_line):
    assert command_line.run("--version").output == f"aftercommit {__version__}\n"


def test_help_names_every_command_and_every_exit_code(command_line):
    output = command_line.run("--help").output

    assert all(name in output for name in ("serve", "migrate", "tables", "worker", "demo", "message", "topic"))
    assert all(f"  {code.value}  " in output for code in ExitCode)
    assert "Exit codes:" in command_line.run("message", "list", "--help").output


def test_help_loads_nothing_a_command_needs():
    code = (
        "import sys\n"
        "from aftercommit.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'rich', 'httpx2', 'msgspec', 'aiohttp', 'starlette', 'sqlite3'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", ["serve", "migrate", "tables", "worker", "demo", "message", "topic"])
def test_every_command_that_is_listed_can_be_loaded_and_means_what_the_list_says(name):
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.name == name


def test_an_unknown_command_is_a_usage_error(command_line):
    assert command_line.run("messages").exit_code == ExitCode.USAGE


ERRORS = [
    (NotFound("unknown_message", "d", status=404), 3),
    (Conflict("topic_in_use", "d", status=409), 4),
    (RolledBack("rolled_back", "d", status=409), 4),
    (Invalid("invalid_query", "d", status=422), 4),
    (Denied("forbidden", "d", status=403), 4),
    (Unavailable("overloaded", "d", status=503), 5),
    (Unreachable("d", perhaps_received=False, repeatable=True), 5),
    (Unexpected("d", status=500), 1),
    (ConfigurationError("d"), 1),
    (ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp"), 1),
]


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_an_error_has_its_exit_code(error, code):
    failure = failure_of(error)

    assert failure is not None
    assert failure.code == code


def test_a_missing_extra_is_one_sentence_with_the_line_that_installs_it():
    failure = failure_of(ModuleNotFoundError("No module named 'aiohttp.web'", name="aiohttp.web"))

    assert failure is not None
    assert "pip install 'aftercommit[server]'" in failure.sentence


@pytest.mark.parametrize(
    "error", [Inconsistency("x"), KeyError("x"), ModuleNotFoundError("x", name="aftercommit.cli.demo")]
)
def test_what_nobody_expected_keeps_its_traceback(error):
    assert failure_of(error) is None


ENDS = [
    (refused(404, "unknown_message"), 3),
    (refused(409, "invalid_transition"), 4),
    (refused(422, "invalid_outcome"), 4),
    (Response(500, {}, b"<html>"), 1),
]


@pytest.mark.parametrize(("answer", "code"), ENDS)
def test_a_command_ends_with_one_sentence_on_stderr_and_nothing_on_stdout(command_line, answer, code):
    result = command_line.run("message", "recheck", ID, "--json", script=[answer])

    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_service_that_does_not_answer_in_time_is_reported_as_unreachable(command_line):
    gone = NoAnswer("Connection refused", perhaps_received=False)

    result = command_line.run("topic", "list", "--timeout-seconds", "0.001", script=[gone])

    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.stderr == (
        "Error: No answer to GET /v1/topics from http://127.0.0.1:8340: Connection refused. It is safe to repeat.\n"
    )


def test_what_a_service_says_cannot_steer_the_terminal(command_line):
    evil = Response(404, {}, b'{"title":"t","status":404,"code":"x","detail":"a\\u001b]0;b\\nc"}')

    result = command_line.run("message", "recheck", ID, script=[evil])

    assert result.stderr == "Error: a ]0;b c (x)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["message", "show", ".."],
        ["message", "resolve", ID, "unknown", "--reason", "x"],
        ["message", "resolve", ID, "committed"],
        ["message", "discard", ID],
        ["message", "list", "--status", "lost"],
        ["message", "list", "--limit", "0"],
        ["topic", "set", "t", "--policy", "x"],
        ["topic", "set", "t", "--policy", "x=later"],
        ["topic", "list", "--url", "localhost:8340"],
        ["topic", "list", "--app", "a\nb"],
    ],
)
def test_a_command_written_wrongly_sends_nothing(command_line, arguments):
    result = command_line.run(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert command_line.transport.requests == []


def test_the_epilog_tells_of_every_code():
    assert all(f"{code.value}  " in EXIT_CODES_HELP for code in ExitCode)
