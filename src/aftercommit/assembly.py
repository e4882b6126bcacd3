"""The composition root: settings in, a running node out. The only file that names concrete back ends."""

import asyncio
import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from aftercommit import __version__
from aftercommit.api.asgi import create_app
from aftercommit.api.server import HttpServer
from aftercommit.brokers.memory import MemoryBroker
from aftercommit.checkbacks.addresses import require_address
from aftercommit.checkbacks.http import HttpCheckback
from aftercommit.clocks import SystemClock, new_id, wall_ms
from aftercommit.doctor.brokers import examine_built_in
from aftercommit.doctor.finding import Report
from aftercommit.doctor.sqlite import examine_sqlite
from aftercommit.domain.errors import ConfigurationError
from aftercommit.domain.lifecycle import Status
from aftercommit.ports.broker import Broker, PullBroker
from aftercommit.ports.store import Shared, Store
from aftercommit.service.node import Backends, Chance, Node, Timing
from aftercommit.settings import BUILT_IN_BROKER, Settings
from aftercommit.signatures import new_secret
from aftercommit.stores.sqlite import SqliteStore, migrations_sql, missing_migrations, run_migrations
from aftercommit.telemetry.log import AlertLog, configure_log
from aftercommit.telemetry.metrics import Metrics

SECRET_BYTES = 32
# The writer's thread needs the interpreter for a moment between two statements. At the default of 5 ms a busy event
# loop makes it wait that long each time; measured in docs/decisions/0002-sqlite-store.md.
SWITCH_INTERVAL_SECONDS = 0.0002
GARBAGE_THRESHOLDS = (20_000, 20, 50)


class RunningNode:
    """A node with its door. `start` and `stop` once each; `port` is the one it listens on."""

    def __init__(self, settings: Settings, listener: socket.socket | None = None) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = Metrics(clock=self._clock, warn=AlertLog(clock=self._clock))
        draw = random.Random().random
        chance = Chance(draw=draw, new_id=new_id, new_secret=lambda: new_secret(os.urandom(SECRET_BYTES)))
        broker, pulls = self._make_broker(draw)
        self._store, shared = _make_store(settings, draw)
        self._node = Node(
            Backends(
                store=self._store,
                broker=broker,
                pulls=pulls,
                checkback=HttpCheckback(clock=self._clock, observer=self._metrics, new_id=new_id),
                clock=self._clock,
                observer=self._metrics,
                shared=shared,
            ),
            chance,
            # A database that is a file of this machine has this machine's clock.
            Timing(
                database_ms=shared.clock_ms if shared else _wall_ms,
                refresh=self._clock.refresh,
                jumped=lambda: self._clock.jumped,
            ),
            roles=settings.roles,
            keyless=True,
            require_address=require_address,
            rates=self._metrics.rates,
            address=lambda: f"http://{settings.host}:{self.port}",
        )
        app = create_app(
            self._node.services, clock=self._clock, observer=self._metrics, render_metrics=self._render_metrics
        )
        self._server = HttpServer(
            app,
            host=settings.host,
            port=settings.port,
            clock=self._clock,
            observer=self._metrics,
            listener=listener,
        )

    def _make_broker(self, draw: Callable[[], float]) -> tuple[Broker, PullBroker | None]:
        """The broker of the settings, twice where consumers pull from it."""
        url = self._settings.broker
        if url == BUILT_IN_BROKER:
            built_in = MemoryBroker()
            return built_in, built_in
        try:
            from aftercommit.brokers.nats import NatsBroker
        except ModuleNotFoundError as error:
            raise ConfigurationError("A NATS broker needs nats-py: pip install 'aftercommit[nats]'.") from error
        return NatsBroker(url, clock=self._clock, observer=self._metrics, chance=draw, new_id=new_id), None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Open the store, start the loops, listen. Raises `ConfigurationError` with what to do."""
        # Nobody asks the clock before it was set by the database's.
        await self._store.open(wall_ms())
        try:
            await self._node.take_time()
            await self._server.start()
        except BaseException:
            await self._node.close()
            raise
        await self._node.start()

    async def stop(self) -> None:
        """Claim nothing more, finish what runs, close the door, write what was handed in, let go."""
        await self._node.stop()
        await self._server.stop()
        await self._node.close()

    async def _render_metrics(self) -> bytes:
        tallies = await self._store.tallies()
        for status in Status:
            of_status = [each for each in tallies if each.status is status]
            oldest = min((each.oldest_at for each in of_status if each.oldest_at is not None), default=None)
            age = 0.0 if oldest is None else max(0, self._clock.now() - oldest) / 1000
            self._metrics.set_gauge("messages", sum(each.count for each in of_status), status=status.value)
            self._metrics.set_gauge("oldest_age_seconds", age, status=status.value)
        self._metrics.set_gauge("queue_depth", self._node.gatherer.depth)
        for name, progress in self._node.supervisor.report().items():
            self._metrics.set_gauge("loop_last_progress_seconds", progress.idle_seconds, loop=name)
        return self._metrics.render()


def _make_store(settings: Settings, draw: Callable[[], float]) -> tuple[Store, Shared | None]:
    """The store of the settings, twice where other nodes may use its database as well."""
    if settings.is_embedded:
        return SqliteStore(settings.database_path, chance=draw), None
    with _needed_by_databases():
        from aftercommit.stores.sql import SqlStore
        from aftercommit.stores.sql.address import Address
    store = SqlStore(Address.parse(settings.database), chance=draw)
    return store, store


@contextmanager
def _needed_by_databases() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This database needs {error.name}: pip install 'aftercommit[postgres]' or 'aftercommit[mysql]'."
        ) from error


def run(
    settings: Settings,
    announce: Callable[[str], object],
    *,
    listener: socket.socket | None = None,
    worker: int | None = None,
) -> None:
    """Run a node until SIGTERM or SIGINT, on the fastest event loop there is; the rest as `run_node` has it."""
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(run_node(settings, announce, listener=listener, worker=worker))


async def run_node(
    settings: Settings,
    announce: Callable[[str], object],
    *,
    listener: socket.socket | None = None,
    worker: int | None = None,
) -> None:
    """Run a node until SIGTERM or SIGINT. `announce` gets the line that says where it listens.

    One of several workers takes connections from the `listener` they share, and logs with its number.
    """
    configure_log(settings.log_level, settings.log_format, worker=worker)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    node = RunningNode(settings, listener)
    await node.start()
    _collect_garbage_seldom()
    address = f"http://{settings.host}:{node.port}"
    announce(f"AfterCommit {__version__} listens on {address} (API reference: {address}/docs)")
    try:
        await stopping.wait()
    finally:
        await node.stop()


def _collect_garbage_seldom() -> None:
    # What lives now lives to the end, and what comes and goes by the thousand has no cycles: a tenth of the processor.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        # Not made for this platform: asyncio's own loop does the same, slower.
        return None
    return uvloop.new_event_loop


def migrate_database(settings: Settings) -> list[str]:
    """Bring the schema up to date; the names of the migrations that were applied."""
    if settings.is_embedded:
        return run_migrations(settings.database_path)
    with _needed_by_databases():
        from aftercommit.stores.sql import migrate
    return asyncio.run(migrate.run_migrations(settings.database))


def migration_status(settings: Settings) -> list[str]:
    """The names of the migrations that are missing."""
    if settings.is_embedded:
        return missing_migrations(settings.database_path)
    with _needed_by_databases():
        from aftercommit.stores.sql import migrate
    return asyncio.run(migrate.missing_migrations(settings.database))


def migration_sql(settings: Settings) -> str:
    """The missing migrations as one script; empty where there are none."""
    if settings.is_embedded:
        return migrations_sql(settings.database_path)
    with _needed_by_databases():
        from aftercommit.stores.sql import migrate
    return asyncio.run(migrate.migrations_sql(settings.database))


def examine(settings: Settings) -> Report:
    """What a doctor finds at the database and the broker of the settings. Changes nothing."""
    return _examine_database(settings) + _examine_broker(settings)


def _examine_database(settings: Settings) -> Report:
    if urlsplit(settings.database).scheme == "sqlite":
        return examine_sqlite(settings.database_path)
    try:
        from aftercommit.doctor.servers import examine_server

        return asyncio.run(examine_server(settings.database, workers=settings.workers, read_ms=wall_ms))
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This database needs {error.name}: pip install 'aftercommit[postgres]' or 'aftercommit[mysql]'."
        ) from error


def _examine_broker(settings: Settings) -> Report:
    if settings.broker == BUILT_IN_BROKER:
        return examine_built_in()
    try:
        from aftercommit.doctor.nats import examine_nats
    except ModuleNotFoundError as error:
        raise ConfigurationError("A NATS broker needs nats-py: pip install 'aftercommit[nats]'.") from error
    return asyncio.run(examine_nats(settings.broker))


async def _wall_ms() -> int:
    return wall_ms()
