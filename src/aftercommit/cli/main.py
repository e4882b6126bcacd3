"""The command `aftercommit`: a list of commands, each loaded when it is called."""

from importlib import import_module
from typing import Any, Final, NamedTuple

try:
    import click
except ModuleNotFoundError:
    raise SystemExit("The command line needs the server extra: pip install 'aftercommit[server]'.") from None

from aftercommit import __version__
from aftercommit.cli.exit_codes import EXIT_CODES_HELP


class Lazy(NamedTuple):
    """Where a command is, and what it is for."""

    module: str
    name: str
    help: str


_COMMANDS: Final = {
    "serve": Lazy("aftercommit.cli.serve", "serve", "Run a node."),
    "migrate": Lazy("aftercommit.cli.migrate", "migrate", "Bring the database's schema up to date."),
    "doctor": Lazy("aftercommit.cli.doctor", "doctor", "Is what a node stands on as safe as what it promises?"),
    "tables": Lazy("aftercommit.cli.tables", "tables", "Print the SDK's tables for your own database."),
    "worker": Lazy("aftercommit.cli.worker", "worker", "Run consumers."),
    "demo": Lazy("aftercommit.cli.demo", "demo", "Watch it survive: orders flow while everything is killed."),
    "message": Lazy("aftercommit.cli.operate.messages", "message", "Find messages, look at them, act on them."),
    "topic": Lazy("aftercommit.cli.operate.topics", "topic", "Look at topics and change them."),
}


class Program(click.Group):
    """Loads a command when it is called, so that help is quick and a missing extra spoils only what needs it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a first day."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded; None if there is none."""
        lazy = _COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        command = getattr(import_module(lazy.module), lazy.name)
        assert isinstance(command, click.Command)  # noqa: S101 - what the table names is in this package
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong ends in one sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            from aftercommit.cli.errors import failure_of

            failure = failure_of(error)
            if failure is None:
                raise
            click.echo(f"Error: {failure.sentence}", err=True)
            raise click.exceptions.Exit(failure.code) from error


@click.group(cls=Program, epilog=EXIT_CODES_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aftercommit", message="%(prog)s %(version)s")
def main() -> None:
    """AfterCommit: a message is delivered if, and only if, the local transaction committed."""


if __name__ == "__main__":
    main()
