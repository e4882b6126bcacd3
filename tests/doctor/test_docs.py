"""The documentation names every check, and no other."""

import re
from pathlib import Path

from aftercommit.doctor import mysql_durability, mysql_server, postgres_server, postgres_tables, sqlite

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
# Those that are not in a list of checks.
OTHERS = {
    "postgresql.pooler",
    "postgresql.session",
    "mysql.session",
    "memory.broker",
    "nats.version",
    "nats.jetstream",
    "nats.stream",
}


def test_every_check_is_explained():
    lists = {
        "postgresql": (*postgres_server.CHECKS, *postgres_tables.CHECKS),
        "mysql": (*mysql_durability.CHECKS, *mysql_server.CHECKS),
        "sqlite": (*sqlite.PLACE, *sqlite.CONTENT),
    }
    checks = {f"{family}.{check.__name__}" for family, checks in lists.items() for check in checks}

    explained = set(re.findall(r"`((?:postgresql|mysql|sqlite|memory|nats)\.\w+)`", PAGE.read_text("utf-8")))

    assert explained == checks | OTHERS
