"""A command line whose service is a script."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from aftercommit.cli.main import main
from aftercommit.sdk.transports.port import Scripted, ScriptedTransport


class CommandLine:
    """Runs commands against a script; remembers what was sent."""

    def __init__(self) -> None:
        self.transport = ScriptedTransport()

    def run(self, *arguments: str, script: list[Scripted] | None = None, env: dict[str, str] | None = None) -> Result:
        self.transport = ScriptedTransport(script or [])
        new_transport: Callable[[], ScriptedTransport] = lambda: self.transport  # noqa: E731 - the shape has a name
        clean = {"AFTERCOMMIT_URL": None, "AFTERCOMMIT_APP": None, "AFTERCOMMIT_KEY": None, "FORCE_COLOR": None}
        return CliRunner().invoke(main, arguments, obj=new_transport, env={**clean, **(env or {})})


@pytest.fixture
def command_line() -> CommandLine:
    return CommandLine()
