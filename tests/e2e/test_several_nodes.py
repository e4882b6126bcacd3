"""Four nodes on one database, killed and frozen one after the other under load: whatever was acknowledged stands."""

import random
from pathlib import Path

import pytest

from tests.e2e.fleet import SETTLE_SECONDS, Fleet, Torment, faults_wanted, require_kept_promises
from tests.e2e.history import Outcome
from tests.e2e.load import Load
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres

NODES = 4
FAULTS = 8
# The server ends the transactions of a silent writer after 10 s, those of a silent dispatcher after 20 s; a usual run
# has time for the first only.
FREEZE_SECONDS = 11.0
LONG_FREEZE_SECONDS = 22.0


@pytest.mark.slow
def test_nodes_on_postgresql_that_die_and_freeze_break_no_promise(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.database() as database:
        _campaign(tmp_path, database.url())


@pytest.mark.slow
def test_nodes_on_mariadb_that_die_and_freeze_break_no_promise(mariadb: MariaDB, tmp_path: Path) -> None:
    with mariadb.database() as database:
        _campaign(tmp_path, database.url())


def _campaign(folder: Path, database_url: str) -> None:
    # Given several nodes on one database, and a load that writes down what it does and hears
    with Fleet(folder, database_url, nodes=NODES) as fleet:
        load = Load(fleet)
        load.start()
        try:
            # When one after the other is killed or frozen
            faults = faults_wanted(FAULTS)
            freeze_seconds = FREEZE_SECONDS if faults <= FAULTS else LONG_FREEZE_SECONDS
            torment = Torment(fleet, random.Random(), freeze_seconds)
            torment.run(faults)
            # Then everything comes to rest
            load.settle(SETTLE_SECONDS)
        finally:
            load.stop()
        # And nothing that was promised was broken
        require_kept_promises(load, fleet)
        assert sum(each.outcome is Outcome.UNKNOWN for each in load.entries) >= torment.done["killed"], torment.done
        assert torment.done["killed"], torment.done
        assert torment.done["frozen"], torment.done
