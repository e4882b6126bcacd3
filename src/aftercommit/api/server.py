"""The server: uvicorn's HTTP engine, started and stopped from within a running event loop."""

import asyncio
import socket
from email.utils import formatdate
from typing import Any, Final

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from aftercommit.api.connection import Connection, House
from aftercommit.api.exchange import Present
from aftercommit.api.limits import Limits
from aftercommit.domain.errors import ConfigurationError
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer

BACKLOG: Final = 2048
# Deadlines are looked after this often within their time.
SWEEPS_PER_DEADLINE: Final = 20
SWEEP_SECONDS_MAX: Final = 0.5

_log = structlog.get_logger(__name__)


class HttpServer:
    """Serves an ASGI application on one address.

    Signals, the lifespan protocol, access logs and reloading are other people's business (assembly, telemetry).
    """

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        clock: Clock,
        observer: Observer,
        limits: Limits | None = None,
        reuse_port: bool = False,
        listener: socket.socket | None = None,
    ) -> None:
        """`listener`: a socket that listens already, instead of one for `host` and `port`; `stop` closes it."""
        self._app = app
        self._host = host
        self._wanted_port = port
        self._clock = clock
        self._observer = observer
        self._limits = limits or Limits()
        self._reuse_port = reuse_port
        self._given = listener
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._present = Present()
        self._empty = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on; the one the system chose, if 0 was asked for."""
        if self._listener is None:
            return self._wanted_port
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._state.connections)

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` where the address cannot be had."""
        loop = asyncio.get_running_loop()
        house = House(
            config=_config(self._app),
            state=self._state,
            limits=self._limits,
            observer=self._observer,
            present=self._present,
            loop=loop,
            empty=self._empty,
        )
        listening = self._given or bind(self._host, self._wanted_port, reuse_port=self._reuse_port)
        self._listener = await loop.create_server(lambda: Connection(house), sock=listening, backlog=BACKLOG)
        self._look_after_connections()

    async def stop(self) -> None:
        """Take no more connections, finish what runs within its time, then close. May be called twice."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._finish_requests()
        await self._finish_connections()
        if self._sweep is not None:
            self._sweep.cancel()

    async def _finish_requests(self) -> None:
        running = set(self._state.tasks)
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=self._limits.stop_seconds)
        if late:
            _log.warning("requests_cancelled", count=len(late), after_seconds=self._limits.stop_seconds)
            for task in late:
                task.cancel()
            await asyncio.wait(late)

    async def _finish_connections(self) -> None:
        """Let answers that are on their way arrive; a client that does not read them is not waited for long."""
        self._empty.clear()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.connections:
            await self._clock.wait(self._empty, self._limits.linger_seconds)
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _look_after_connections(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._present.date_line = f"date: {formatdate(self._clock.now() / 1000, usegmt=True)}\r\n".encode()
        for connection in list(self._state.connections):
            if isinstance(connection, Connection):
                connection.expire(now)
        limits = self._limits
        shortest = min(limits.receive_seconds, limits.idle_seconds, limits.linger_seconds)
        pause = min(SWEEP_SECONDS_MAX, shortest / SWEEPS_PER_DEADLINE)
        self._sweep = loop.call_later(pause, self._look_after_connections)


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens on `port`, or on a free one for 0. Raises `ConfigurationError` where that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=reuse_port)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. Choose another address or port."
        ) from error


def _config(app: Any) -> Config:
    config = Config(
        app,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    return config
