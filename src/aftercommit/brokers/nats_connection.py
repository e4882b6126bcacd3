"""One connection to NATS, made anew whenever it is lost; a client that lost its connection is never used again.

The client's own reconnecting is switched off: it keeps what could not be sent and sends it much later, when the service
has long given those messages to another attempt.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer

CONNECT_SECONDS: Final = 5.0
# How long a server that has not answered a publish may take for a sign of life.
SIGN_OF_LIFE_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 1.0
IDLE_PING_SECONDS: Final = 15
BACK_OFF_FIRST_SECONDS: Final = 0.1
BACK_OFF_MAX_SECONDS: Final = 5.0
# Far more than is ever in flight: below it the client takes a message without waiting for the server.
BUFFER_BYTES: Final = 64 * 1024 * 1024

_CLOSED: Final = "The broker is closed."
_log = logging.getLogger("aftercommit.brokers")


class Connection:
    """Keeps one connection up. `client` is it, ready to use, or None; then `trouble` says why."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        observer: Observer,
        chance: Callable[[], float],
        heard: Callable[[Msg], None],
        up: Callable[[], None],
        down: Callable[[str], None],
    ) -> None:
        """`heard` gets what is sent to `replies`; `up` and `down` are told when the connection is there, or lost."""
        self.client: Client | None = None
        self.replies = ""
        self._trouble: str | None = "The broker is not connected yet."
        self._servers = url.split(",")
        self._where = ", ".join(urlsplit(each).netloc.rpartition("@")[2] for each in self._servers)
        self._clock = clock
        self._observer = observer
        self._chance = chance
        self._heard = heard
        self._up = up
        self._down = down
        self._task: asyncio.Task[None] | None = None
        self._connecting: asyncio.Timeout | None = None
        self._closing = asyncio.Event()
        self._stirred = asyncio.Event()
        self._doubted = False
        self._last_error: Exception | None = None

    @property
    def trouble(self) -> str | None:
        """Why there is no connection; None while there is one."""
        client = self.client
        if client is not None and not client.is_connected:
            return f"The connection to the broker at {self._where} was lost."
        return self._trouble

    @property
    def last_error(self) -> str | None:
        """What the server complained about last on this connection, a missing permission for one."""
        return None if self._last_error is None else str(self._last_error)

    def open(self) -> None:
        """Begin to connect."""
        if self._task is None and not self._closing.is_set():
            self._task = asyncio.get_running_loop().create_task(self._keep(), name="nats connection")

    def doubt(self) -> None:
        """Something was not answered: ask for a sign of life, and give the connection up if there is none."""
        self._doubted = True
        self._stirred.set()

    async def close(self) -> None:
        """Let go. May be called twice, also before `open`."""
        self._closing.set()
        self._stirred.set()
        self._trouble = _CLOSED
        if self._connecting is not None and not self._connecting.expired():
            self._connecting.reschedule(0)
        task, self._task = self._task, None
        if task is not None:
            await task

    async def _keep(self) -> None:
        failures = 0
        while not self._closing.is_set():
            client = Client()
            try:
                # By its own deadline: the client's are per step, and there are several.
                async with asyncio.timeout(CONNECT_SECONDS) as self._connecting:
                    await self._connect(client)
            except (OSError, NatsError, TimeoutError, ValueError, KeyError) as error:
                # The last two: what speaks there is not NATS.
                failures += 1
                self._connecting = None
                await _let_go(client)
                self._failed(error, failures)
                await self._clock.wait(self._closing, self._back_off(failures))
            else:
                failures = 0
                self._connecting = None
                await self._use(client)
        self._trouble = _CLOSED

    async def _connect(self, client: Client) -> None:
        self._last_error = None
        await client.connect(
            self._servers,
            name="aftercommit",
            allow_reconnect=False,
            # Each server is tried twice at once; the pause before the next round is ours.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=round(CONNECT_SECONDS),
            error_cb=self._complained,
            disconnected_cb=self._stir,
            closed_cb=self._stir,
            ping_interval=IDLE_PING_SECONDS,
            max_outstanding_pings=1,
            pending_size=BUFFER_BYTES,
            flush_timeout=CONNECT_SECONDS,
        )
        replies = client.new_inbox()

        async def heard(message: Msg) -> None:
            self._heard(message)

        await client.subscribe(f"{replies}.*.*", cb=heard)
        # The server knows the subscription before anything is published that it must answer.
        await client.flush(round(CONNECT_SECONDS))
        self.replies = replies

    async def _use(self, client: Client) -> None:
        self._doubted = False
        self._trouble = None
        self.client = client
        _log.info("Connected to the broker at %s.", self._where)
        self._up()
        await self._watch(client)
        self.client = None
        self._trouble = f"The connection to the broker at {self._where} was lost."
        self._down(self._trouble)
        await _let_go(client)
        if not self._closing.is_set():
            self._observer.alert("broker_unavailable", self._trouble)
            # All nodes lose a broker at the same moment; they do not come back at the same moment.
            await self._clock.wait(self._closing, self._back_off(1))

    async def _watch(self, client: Client) -> None:
        """Return when the connection is lost, silent or no longer wanted."""
        while client.is_connected and not self._closing.is_set():
            doubted, self._doubted = self._doubted, False
            if doubted and not await _is_alive(client):
                return
            await self._clock.wait(self._stirred, WATCH_SECONDS)
            self._stirred.clear()

    def _failed(self, error: Exception, failures: int) -> None:
        if isinstance(error, NoServersError) and self._last_error is not None:
            # Says only that every server was tried; what each said came before.
            error = self._last_error
        why = str(error) or type(error).__name__
        self._trouble = f"The broker at {self._where} cannot be reached: {why}."
        if failures == 1:
            self._observer.alert("broker_unavailable", self._trouble)

    def _back_off(self, failures: int) -> float:
        seconds = min(BACK_OFF_MAX_SECONDS, BACK_OFF_FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
        return seconds * (1 - 0.5 * self._chance())

    async def _complained(self, error: Exception) -> None:
        self._last_error = error
        _log.debug("The broker's client says: %s: %s", type(error).__name__, error)

    async def _stir(self) -> None:
        self._stirred.set()


async def _is_alive(client: Client) -> bool:
    try:
        async with asyncio.timeout(SIGN_OF_LIFE_SECONDS * 2):
            await client.flush(round(SIGN_OF_LIFE_SECONDS))
    except (OSError, NatsError, TimeoutError):
        return False
    return True


async def _let_go(client: Client) -> None:
    """Cut the connection, whatever waits to be sent on it.

    Closing in good order first sends what is left, and waits for ever for a server that stands still. Cut short, the
    client's own closing may end half-way and leave its tasks behind; none of this has a public name.
    """
    inside: Any = client
    subscriptions = list(inside._subs.values())
    tasks = [inside._flusher_task, inside._reading_task, inside._ping_interval_task]
    writer = getattr(inside._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
    with suppress(OSError, NatsError, TimeoutError):
        async with asyncio.timeout(SIGN_OF_LIFE_SECONDS):
            await client.close()
    for each in subscriptions:
        each._stop_processing()
        tasks.append(each._wait_for_msgs_task)
    left = [each for each in tasks if each is not None]
    for each in left:
        each.cancel()
    # Awaited for what they raise too, which is about a connection nobody has any more.
    await asyncio.gather(*left, return_exceptions=True)
