"""The servers as fixtures: each is started when the first test asks for it and kept until the last test is over."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.servers import require_server
from tests.servers.server import Server

if TYPE_CHECKING:
    from tests.servers.kafka import Kafka
    from tests.servers.mariadb import MariaDB
    from tests.servers.nats import Nats
    from tests.servers.pgbouncer import PgBouncer
    from tests.servers.postgres import Postgres
    from tests.servers.rabbitmq import RabbitMQ
    from tests.servers.redis import Redis

AnyServer = TypeVar("AnyServer", bound=Server)


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """PostgreSQL; `postgres.database()` is an empty database."""
    from tests.servers.postgres import Postgres

    with _required(Postgres.name, Postgres.found()) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: "Postgres") -> "Iterator[PgBouncer]":
    """PgBouncer in front of `postgres`; `pgbouncer.behind(database)` is the same database through it."""
    from tests.servers.pgbouncer import PgBouncer

    with _required(PgBouncer.name, PgBouncer.found(postgres.port)) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> "Iterator[MariaDB]":
    """MariaDB; `mariadb.database()` is an empty database."""
    from tests.servers.mariadb import MariaDB

    with _required(MariaDB.name, MariaDB.found()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> "Iterator[Redis]":
    """Redis; everybody shares its keys, so use names of your own."""
    from tests.servers.redis import Redis

    with _required(Redis.name, Redis.found()) as server:
        yield server


@pytest.fixture(scope="session")
def nats_server() -> "Iterator[Nats]":
    """NATS with JetStream; everybody shares its streams, so use names of your own."""
    from tests.servers.nats import Nats

    with _required(Nats.name, Nats.found()) as server:
        yield server


@pytest.fixture(scope="session")
def jetstream_server() -> "Iterator[Nats]":
    """Another NATS, for our own broker and nodes: its stream AFTERCOMMIT takes every subject `aftercommit.>`."""
    from tests.servers.nats import Nats

    with _required(Nats.name, Nats.found()) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> "Iterator[RabbitMQ]":
    """RabbitMQ, which takes five seconds to start; everybody shares its queues, so use names of your own."""
    from tests.servers.rabbitmq import RabbitMQ

    with _required(RabbitMQ.name, RabbitMQ.found()) as server:
        yield server


@pytest.fixture(scope="session")
def kafka() -> "Iterator[Kafka]":
    """A broker that speaks Kafka's protocol; everybody shares its topics, so use names of your own."""
    from tests.servers.kafka import Kafka

    with _required(Kafka.name, Kafka.found()) as server:
        yield server


def _required(name: str, server: AnyServer | None) -> AnyServer:
    require_server(name, found=server is not None)
    assert server is not None
    return server
