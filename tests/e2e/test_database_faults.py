"""A database that is killed, a network that cuts and loses answers: nothing acknowledged is lost, and all goes on."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.fleet import SETTLE_SECONDS, Fleet, faults_wanted, missing_load, require_kept_promises
from tests.e2e.history import Outcome
from tests.e2e.load import Load
from tests.e2e.waiting import eventually
from tests.servers.databases import FreshDatabase
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy
from tests.servers.server import Server

NODES = 2
DATABASE_KILLS = 3
CUTS = 25
# How soon after the database is back the first message must be stored again.
RESUMED_SECONDS = 10.0


@pytest.mark.slow
def test_a_postgresql_that_dies_again_and_again_loses_nothing(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.database() as database:
        _kill_the_database(postgres, database, tmp_path)


@pytest.mark.slow
def test_a_mariadb_that_dies_again_and_again_loses_nothing(mariadb: MariaDB, tmp_path: Path) -> None:
    with mariadb.database() as database:
        _kill_the_database(mariadb, database, tmp_path)


@pytest.mark.slow
def test_lost_commits_and_cut_connections_to_postgresql_lose_nothing(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.database() as database:
        _disturb_the_network(database, tmp_path)


@pytest.mark.slow
def test_lost_commits_and_cut_connections_to_mariadb_lose_nothing(mariadb: MariaDB, tmp_path: Path) -> None:
    with mariadb.database() as database:
        _disturb_the_network(database, tmp_path)


def _kill_the_database(server: Server, database: FreshDatabase, folder: Path) -> None:
    chance = random.Random()
    kills = faults_wanted(DATABASE_KILLS)

    def torment(load: Load) -> None:
        for _ in range(kills):
            time.sleep(chance.uniform(0.5, 1.5))
            server.kill9()
            # Some time without it, so that calls come that must be refused.
            time.sleep(chance.uniform(0.2, 1.0))
            server.start()
            _await_resumed(load)

    try:
        load = _campaign(folder, database.url(), torment)
    finally:
        if not server.running:
            server.start()
    refused = [each for each in load.entries if each.said == "503"]
    assert len(refused) + _unknown(load) >= kills, "Nobody noticed that the database was away."


def _disturb_the_network(database: FreshDatabase, folder: Path) -> None:
    network = _BadNetwork(random.Random())
    cuts = faults_wanted(CUTS)
    with FaultProxy(database.port, network.decide) as proxy:

        def torment(load: Load) -> None:
            network.bad.set()
            eventually(lambda: _bad_fates(proxy), lambda done: done >= cuts, within_seconds=60 + 3 * cuts)
            # It stays bad until enough has gone through it.
            eventually(lambda: missing_load(load), lambda missing: not missing, within_seconds=60)
            network.bad.clear()
            _await_resumed(load)

        _campaign(folder, replace(database, port=proxy.port).url(), torment)
        assert proxy.fates[Fate.LOSE_ANSWER] + proxy.fates[Fate.LATE] >= cuts // 4, proxy.fates
        assert proxy.fates[Fate.CUT], proxy.fates


class _BadNetwork:
    """While it is bad it cuts at random, and loses the answers to many a COMMIT."""

    def __init__(self, chance: random.Random) -> None:
        self.bad = threading.Event()
        self._chance = chance

    def decide(self, piece: bytes) -> Fault:
        """What becomes of this piece."""
        if not self.bad.is_set():
            return FORWARD
        luck = self._chance.random()
        if b"COMMIT" in piece.upper():
            if luck < 0.05:
                return Fault(Fate.LOSE_ANSWER, self._chance.uniform(0.0, 0.5))
            if luck < 0.08:
                return Fault(Fate.LATE, self._chance.uniform(0.0, 0.5))
            return FORWARD
        if luck < 0.002:
            return Fault(Fate.CUT)
        if luck < 0.015:
            return Fault(Fate.DELAY, self._chance.uniform(0.0, 0.3))
        return FORWARD


def _campaign(folder: Path, database_url: str, torment: Callable[[Load], None]) -> Load:
    # Given nodes, and a load that writes down what it does and hears
    with Fleet(folder, database_url, nodes=NODES) as fleet:
        load = Load(fleet)
        load.start()
        try:
            _await_resumed(load)
            # When their database, or the way to it, suffers
            torment(load)
            # Then everything comes to rest
            load.settle(SETTLE_SECONDS)
        finally:
            load.stop()
        # And nothing that was promised was broken
        require_kept_promises(load, fleet)
        return load


def _await_resumed(load: Load) -> None:
    """Return when messages are stored again, and confirmed."""
    since = time.monotonic()

    def heard() -> set[str]:
        latest = load.entries[-500:]
        return {each.verb for each in latest if each.began > since and each.outcome is Outcome.OK}

    eventually(heard, {"prepare", "confirm", "deliver"}.issubset, RESUMED_SECONDS)


def _unknown(load: Load) -> int:
    return sum(each.outcome is Outcome.UNKNOWN for each in load.entries)


def _bad_fates(proxy: FaultProxy) -> int:
    return sum(proxy.fates[each] for each in (Fate.CUT, Fate.LATE, Fate.LOSE_ANSWER))
