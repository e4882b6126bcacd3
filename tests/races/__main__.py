"""Races for as long as wanted, from the command line: `python -m tests.races --races 20000 --seed 7`."""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.races.campaign import Campaign, usual_terms
from tests.races.journal import Journal
from tests.races.ledger import Ledger
from tests.races.places import in_file, on_server
from tests.races.shops import DRIVERS, Place
from tests.races.weaker import WEAKER
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres


def main() -> int:
    """Run the campaigns that were asked for; 1 if there was a contradiction or a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.races", description=__doc__)
    parser.add_argument("--database", choices=(*DRIVERS, "all"), default="all")
    parser.add_argument("--races", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="drawn and shown if not given")
    parser.add_argument("--barrier", choices=("on", *WEAKER), default="on")
    parser.add_argument("--kill-database", action="store_true", help="kill -9 the database's server, too")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the journals")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    failed = False
    for kind in DRIVERS if given.database == "all" else (given.database,):
        terms = replace(usual_terms(kind, given.races, seed, given.barrier), seconds_max=120 + given.races / 5)
        with tempfile.TemporaryDirectory(prefix="aftercommit-races-") as temporary:
            folder = (given.keep or Path(temporary)) / kind
            folder.mkdir(parents=True)
            with (
                _database(kind, folder) as (place, restart),
                Ledger(Journal(folder, "ledger"), f"{seed}/ledger") as ledger,
            ):
                restart_database = restart if given.kill_database else None
                report = Campaign(terms, place, folder, ledger, restart_database=restart_database).run()
        sys.stdout.write(f"{report}\n")
        for each in (*report.problems[:10], *report.contradictions[:20]):
            sys.stdout.write(f"  {each}\n")
        sys.stdout.flush()
        failed = failed or bool(report.contradictions or report.problems)
    return int(failed)


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[tuple[Place, Callable[[], None] | None]]:
    """The place, and what kills its server and starts it again; a file has none."""
    if kind == "sqlite":
        yield in_file(folder), None
        return
    server = (Postgres if kind == "postgresql" else MariaDB).found()
    if server is None:
        raise SystemExit(f"There is no {kind} on this machine.")

    def restart() -> None:
        server.kill9()
        server.start()

    with server, server.database() as database:
        yield on_server(kind, database), restart


if __name__ == "__main__":
    sys.exit(main())
