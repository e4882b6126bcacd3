"""What a node's settings make of the doctor: the checks of that database, and a sentence where a package is missing."""

import subprocess
import sys

import pytest

from aftercommit.assembly import examine
from aftercommit.doctor.finding import Level
from aftercommit.domain.errors import ConfigurationError
from aftercommit.settings import Settings
from tests.doctor.reading import found


@pytest.mark.parametrize(("server", "check"), [("postgres", "fsync"), ("mariadb", "sync_binlog")])
def test_a_server_is_looked_at_for_the_workers_there_will_be(request, server, check):
    with request.getfixturevalue(server).database() as made:
        report = examine(Settings(database=made.url(), workers=3))

    assert report.reached
    assert found(report, check).level is Level.OK
    assert "3 workers takes up to 72" in found(report, "connections").found
    assert found(report, "broker").level is Level.OK


def test_a_broker_of_the_settings_is_looked_at(nats_server):
    report = examine(Settings(database="sqlite:///none.db", broker=nats_server.url))

    assert found(report, "jetstream").level is Level.OK


def test_an_address_that_is_none_is_one_sentence():
    with pytest.raises(ConfigurationError, match="postgresql://"):
        examine(Settings(database="oracle://somewhere"))


@pytest.mark.parametrize(
    ("package", "database", "broker"),
    [
        ("asyncpg", "postgresql://a@127.0.0.1:1/b", "memory://"),
        ("asyncmy", "mysql://a@127.0.0.1:1/b", "memory://"),
        ("sqlalchemy", "postgresql://a@127.0.0.1:1/b", "memory://"),
        ("nats", "sqlite:///none.db", "nats://127.0.0.1:1"),
    ],
)
def test_a_missing_package_is_one_sentence(package, database, broker):
    """In a process of its own, which has imported nothing yet."""
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from aftercommit.assembly import examine\n"
        "from aftercommit.domain.errors import ConfigurationError\n"
        "from aftercommit.settings import Settings\n"
        f"try: examine(Settings(database={database!r}, broker={broker!r}))\n"
        "except ConfigurationError as error: print(error)\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "pip install" in ended.stdout
