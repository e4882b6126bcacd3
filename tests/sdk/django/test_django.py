"""The scenarios on each database."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql", "mysql"])
def test_a_django_project_publishes_and_receives(vendor: str, request: pytest.FixtureRequest, tmp_path: Path):
    other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "other.db")}
    if vendor == "sqlite":
        run({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "default.db")}, "other": other})
        return
    server = request.getfixturevalue("postgres" if vendor == "postgresql" else "mariadb")
    with server.database() as database:
        default = {
            "ENGINE": f"django.db.backends.{vendor}",
            "NAME": database.name,
            "HOST": database.host,
            "PORT": database.port,
            "USER": database.user,
            "PASSWORD": database.password,
        }
        run({"default": default, "other": other})


def run(databases: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sdk.django.scenarios", json.dumps(databases)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
