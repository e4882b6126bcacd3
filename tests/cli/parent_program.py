"""`aftercommit serve --workers N` without what refuses several workers on SQLite: `parent_program.py N DATABASE ...`.

What follows is the command of a worker; without it the workers are real nodes.
"""

import sys

import click

from aftercommit.cli.workers.supervisor import WORKER_COMMAND, run_workers
from aftercommit.domain.errors import ConfigurationError
from aftercommit.settings import Settings

if __name__ == "__main__":
    workers, database, *command = sys.argv[1:]
    try:
        run_workers(
            Settings(workers=int(workers), database=database, port=0), click.echo, command=command or WORKER_COMMAND
        )
    except ConfigurationError as error:
        raise SystemExit(f"Error: {error}") from None
