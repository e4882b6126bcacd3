"""`aftercommit migrate`: bring the database's schema up to date, or say what that would be."""

import os
from pathlib import Path
from typing import Literal

import click

from aftercommit.settings import load_settings


@click.command()
@click.argument("what", type=click.Choice(["status"]), required=False)
@click.option("--database", help="The database to bring up to date.  [default: sqlite:///aftercommit.db]")
@click.option("--config", type=click.Path(path_type=Path), envvar="AFTERCOMMIT_CONFIG", help="A TOML file of settings.")
@click.option("--status", "only_status", is_flag=True, help="Only say which migrations are missing.")
@click.option("--sql", "only_sql", is_flag=True, help="Only print the missing migrations as a script of SQL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def migrate(
    what: Literal["status"] | None,
    config: Path | None,
    database: str | None,
    only_status: bool,
    only_sql: bool,
    as_json: bool,
) -> None:
    """Bring the database's schema up to date; with `status`, only say what is missing.

    On PostgreSQL, MySQL and MariaDB run it before nodes of a new version start: it is safe while old ones work, and
    several at once do it one after the other. On SQLite `serve` does it by itself.
    """
    from aftercommit.assembly import migrate_database, migration_sql, migration_status
    from aftercommit.cli.output import print_json

    only_status = only_status or what == "status"
    if only_status and only_sql:
        raise click.UsageError("Ask for the status or for the SQL, not for both.")
    settings = load_settings(file=config, environment=os.environ, flags={"database": database})
    if only_sql:
        script = migration_sql(settings)
        if as_json:
            print_json({"sql": script})
        else:
            click.echo(script or "-- The schema is up to date.")
        return
    names = migration_status(settings) if only_status else migrate_database(settings)
    if as_json:
        print_json({"missing" if only_status else "applied": names})
    else:
        click.echo("\n".join(names) or "The schema is up to date.")
