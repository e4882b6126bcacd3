"""`aftercommit serve`."""

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


def _settings(config: Path | None, flags: dict[str, object]) -> Settings:
    try:
        return load_settings(file=config, environment=os.environ, flags=flags)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
