"""What the doctor says of PostgreSQL servers that cannot be started here."""

import pytest

from aftercommit.doctor.finding import Level
from aftercommit.doctor.postgres import Pids, pooler
from aftercommit.doctor.postgres_server import Server, encryption, synchronous_commit, timeouts, version
from aftercommit.stores.sql.address import Address


def made_up(settings: dict[str, str], *, connection: object = None, host: str = "127.0.0.1") -> Server:
    """A server with these settings."""
    address = Address.parse(f"postgresql://aftercommit@{host}/shop")
    return Server(connection=connection, address=address, settings=settings, workers=1, now=0, ahead_ms=0)


@pytest.mark.parametrize(
    ("option", "pids", "level"),
    [
        ("", Pids(promised=7, real=7, second=8), Level.OK),
        ("", Pids(promised=1, real=7, second=7), Level.ERROR),
        ("", Pids(promised=1, real=7, second=8), Level.ERROR),
        ("?pooler=transaction", Pids(promised=1, real=7, second=7), Level.OK),
        ("?pooler=transaction", Pids(promised=7, real=7, second=8), Level.WARNING),
    ],
)
def test_a_pooler_must_be_named_in_the_address(option, pids, level):
    assert pooler(Address.parse(f"postgresql://a@b/c{option}"), pids).level is level


class Answering:
    """A connection on which every question has the same answer."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def fetchval(self, _query: str) -> object:
        """What it was told to answer."""
        return self._answer


@pytest.mark.parametrize(("standbys", "level"), [(0, Level.ERROR), (1, Level.OK), (2, Level.OK)])
async def test_what_acknowledged_means_with_synchronous_standbys_is_said(standbys, level):
    """Without any of them, every commit waits."""
    settings = {"synchronous_commit": "on", "synchronous_standby_names": "ANY 1 (east, west)"}
    server = made_up(settings, connection=Answering(standbys))

    verdict = await synchronous_commit(server)

    assert verdict.level is level
    assert "ANY 1 (east, west)" in verdict.found


@pytest.mark.parametrize(("milliseconds", "level"), [("0", Level.OK), ("1000", Level.ERROR), ("60000", Level.OK)])
async def test_a_limit_on_whole_transactions_below_ours_is_an_error(milliseconds, level):
    """PostgreSQL 17 has it; no setting of a node's lifts it."""
    settings = {"transaction_timeout": milliseconds, "idle_session_timeout": "0"}
    server = made_up(settings)

    assert (await timeouts(server)).level is level


@pytest.mark.parametrize(
    ("host", "encrypted", "level"),
    [
        ("db.example.com", False, Level.WARNING),
        ("10.0.0.7", False, Level.WARNING),
        ("10.0.0.7", True, Level.OK),
        ("127.0.0.1", False, Level.OK),
        ("localhost", False, Level.OK),
    ],
)
async def test_an_unencrypted_connection_that_leaves_the_machine_is_told(host, encrypted, level):
    assert (await encryption(made_up({}, connection=Answering(encrypted), host=host))).level is level


async def test_a_server_that_is_too_old_is_an_error():
    settings = {"server_version_num": "130018"}
    server = made_up(settings)

    assert (await version(server)).level is Level.ERROR
