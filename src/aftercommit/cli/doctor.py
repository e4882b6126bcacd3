"""`aftercommit doctor`: is what a node stands on as safe as what it promises?"""

import os
from pathlib import Path
from typing import Final

import click

from aftercommit.cli.exit_codes import ExitCode
from aftercommit.doctor.finding import Finding
from aftercommit.settings import load_settings

# Scripts tell a sick installation from one that could not be looked at.
NOT_REACHED: Final = 2
_COLOURS: Final = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command()
@click.option("--database", help="The database to look at.  [default: sqlite:///aftercommit.db]")
@click.option("--broker", help="The broker to look at.  [default: memory://]")
@click.option("--workers", type=int, help="Processes that will share the database.  [default: 1]")
@click.option("--config", type=click.Path(path_type=Path), envvar="AFTERCOMMIT_CONFIG", help="A TOML file of settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(config: Path | None, as_json: bool, **flags: object) -> None:
    """Look at the database and the broker as a node would use them.

    Each finding has a name, what was found, and what to do. Nothing is changed. Settings are those of `serve`. Exits
    with 1 if something is an error, with 2 if the database or the broker cannot be reached.
    """
    from aftercommit.assembly import examine
    from aftercommit.cli.output import print_json

    report = examine(load_settings(file=config, environment=os.environ, flags=flags))
    if as_json:
        print_json(report)
    else:
        _print(report.findings)
    if not report.reached:
        raise click.exceptions.Exit(NOT_REACHED)
    if not report.healthy:
        raise click.exceptions.Exit(ExitCode.FAILURE)


def _print(findings: list[Finding]) -> None:
    from aftercommit.cli.output import shown

    width = max(len(each.check) for each in findings)
    for each in findings:
        level = click.style(f"{each.level.value:8}", fg=_COLOURS[each.level.value])
        click.echo(f"{level} {each.check:{width}}  {shown(each.found)}")
        if each.advice:
            click.echo(f"{'':8} {'':{width}}  {shown(each.advice)}")
