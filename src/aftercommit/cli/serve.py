"""`aftercommit serve` and `aftercommit migrate`."""

import os
from pathlib import Path

import click

from aftercommit.domain.errors import ConfigurationError
from aftercommit.settings import Settings, load_settings


@click.command()
@click.option("--host", help="Address to listen on; without keys a loopback one.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 8340]")
@click.option("--database", help="Where messages live.  [default: sqlite:///aftercommit.db]")
@click.option("--broker", help="Where messages go: memory:// or nats://host:port.  [default: memory://]")
@click.option("--config", type=click.Path(path_type=Path), envvar="AFTERCOMMIT_CONFIG", help="A TOML file of settings.")
@click.option("--workers", type=int, help="Processes to run; SQLite allows 1.  [default: 1]")
@click.option("--roles", help="Which parts to run: api,dispatch,check,redeliver,retention.  [default: all]")
@click.option("--log-level", help="debug, info, warning or error.  [default: info]")
@click.option("--log-format", help="console or json.  [default: console]")
def serve(config: Path | None, **flags: object) -> None:
    """Run a node.

    Every option is also an environment variable: --port is AFTERCOMMIT_PORT. Flags win over the environment, which wins
    over the configuration file. SIGTERM and Ctrl-C stop gracefully: nothing new is claimed, what runs is finished.

    With several workers, one process listens and starts those that die again. Each worker counts for itself: /metrics
    answers for the one that took the connection. Scrape nodes of one worker each where sums must be right.
    """
    settings = _settings(config, flags)
    # Imported here, because the command line must also answer --help fast.
    try:
        if settings.workers > 1:
            from aftercommit.cli.workers.supervisor import run_workers

            run_workers(settings, announce=click.echo)
        else:
            from aftercommit.assembly import run

            run(settings, announce=click.echo)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.option("--database", help="The database to bring up to date.  [default: sqlite:///aftercommit.db]")
@click.option("--config", type=click.Path(path_type=Path), envvar="AFTERCOMMIT_CONFIG", help="A TOML file of settings.")
@click.option("--status", "only_status", is_flag=True, help="Only say which migrations are missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def migrate(config: Path | None, database: str | None, only_status: bool, as_json: bool) -> None:
    """Bring the database's schema up to date. `serve` does it by itself on SQLite."""
    settings = _settings(config, {"database": database})
    from aftercommit.assembly import migrate_database, migration_status
    from aftercommit.cli.output import print_json

    try:
        names = migration_status(settings) if only_status else migrate_database(settings)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json({"missing" if only_status else "applied": names})
    elif names:
        click.echo("\n".join(names))
    else:
        click.echo("The schema is up to date.")


def _settings(config: Path | None, flags: dict[str, object]) -> Settings:
    try:
        return load_settings(file=config, environment=os.environ, flags=flags)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
