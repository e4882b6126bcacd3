"""A script on PostgreSQL that fetches its check-backs."""

from pathlib import Path

import psycopg
import pytest

from aftercommit.testing.node_process import Server
from tests.examples.conftest import EXAMPLES
from tests.examples.programs import await_that, done, running

FOLDER = EXAMPLES / "psycopg"


def test_money_is_moved_and_published_both_or_neither(node: Server, tmp_path: Path, request: pytest.FixtureRequest):
    log = tmp_path / "transfer.log"
    with request.getfixturevalue("postgres").database() as database:
        world = {"AFTERCOMMIT_URL": node.url, "BANK_DATABASE": database.url()}
        done(["transfer.py", "setup"], FOLDER, **world)
        moved = done(["transfer.py", "move", "alice", "bob", "30"], FOLDER, **world)
        with pytest.raises(AssertionError, match="does not have 100"):
            done(["transfer.py", "move", "alice", "bob", "100"], FOLDER, **world)
        with psycopg.connect(database.url()) as connection:
            assert dict(connection.execute("SELECT name, amount FROM account")) == {"alice": 70, "bob": 130}
        with node.client(app="mails") as mails:
            (message,) = mails.pull("money.moved", "mails", max=10, wait_seconds=10)
            assert message.id == moved
            assert message.json() == {"from": "alice", "to": "bob", "amount": 30}
        with running(["transfer.py", "answer-checks"], FOLDER, log, **world), node.client(app="bank") as client:
            left = client.prepare("money.moved", {}, check_after_seconds=0.1)
            await_that(lambda: client.status_batch([left.id])[0].status == "rolled_back", log)
