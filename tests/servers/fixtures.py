"""The servers as fixtures: each is started when the first test asks for it and kept until the last test is over."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.servers import require_server
from tests.servers.server import Server

if TYPE_CHECKING:
    from tests.servers.mariadb import MariaDB
    from tests.servers.postgres import Postgres

AnyServer = TypeVar("AnyServer", bound=Server)


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """PostgreSQL; `postgres.database()` is an empty database."""
    from tests.servers.postgres import Postgres

    with _required(Postgres.name, Postgres.found()) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> "Iterator[MariaDB]":
    """MariaDB; `mariadb.database()` is an empty database."""
    from tests.servers.mariadb import MariaDB

    with _required(MariaDB.name, MariaDB.found()) as server:
        yield server


def _required(name: str, server: AnyServer | None) -> AnyServer:
    require_server(name, found=server is not None)
    assert server is not None
    return server
