"""The blocking transport: HTTP/1.1 over sockets that are kept open."""

import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable

from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.transports.http11 import READ_BYTES, AnswerReader, Place, located, secure_by_default, written

IDLE_SECONDS = 30.0
IDLE_MAX = 64
TIME_WAS_UP = "time was up"


class HttpTransport:
    """Connections are opened when first needed and kept; each thread that sends at the same time has its own.

    `tls` replaces the system's certificates. Proxies of the environment are not used, because the service is expected
    near by; for another way there, write a transport of your own, it is two methods. The time of a request limits all
    of it, except the look-up of a host's name, which is the system's. A process that forked opens connections of its
    own.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tls = tls
        self._clock = clock
        # Appending and popping need no lock.
        self._idle: deque[_Connection] = deque()
        self._process = os.getpid()

    def send(self, request: Request) -> Response:
        """Send it."""
        deadline = self._clock() + request.timeout_seconds
        place, target = located(request.url)
        data = written(request, place, target)
        connection = self._kept(place) or self._open(place, deadline)
        try:
            answer = connection.ask(data, lambda: deadline - self._clock())
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return answer

    def close(self) -> None:
        """Close every connection that is not in use. May be called twice."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self, place: Place) -> "_Connection | None":
        if self._process != os.getpid():
            # These are the parent's: two processes on one connection would read each other's answers. Closing them
            # here hangs up nothing there.
            self.close()
            self._process = os.getpid()
        oldest = self._clock() - IDLE_SECONDS
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                # Another thread was quicker.
                return None
            if connection.place == place and connection.idle_since > oldest and connection.is_quiet():
                return connection
            connection.close()
        return None

    def _keep(self, connection: "_Connection") -> None:
        if connection.is_reusable and len(self._idle) < IDLE_MAX:
            connection.idle_since = self._clock()
            self._idle.append(connection)
        else:
            connection.close()

    def _open(self, place: Place, deadline: float) -> "_Connection":
        try:
            plain = self._connected(place, deadline)
        except (OSError, UnicodeError) as error:
            raise NoAnswer(why_of(error), perhaps_received=False) from error
        if not place.is_secure:
            return _Connection(place, plain)
        self._tls = self._tls or secure_by_default()
        try:
            plain.settimeout(max(deadline - self._clock(), 0.001))
            return _Connection(place, self._tls.wrap_socket(plain, server_hostname=place.host))
        except OSError as error:
            plain.close()
            raise NoAnswer(why_of(error), perhaps_received=False) from error

    def _connected(self, place: Place, deadline: float) -> socket.socket:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError(f"{place.host} has no address")
        for number, (family, kind, protocol, _, address) in enumerate(found):
            # An address that leads nowhere must not use up the time of those after it.
            seconds = max(deadline - self._clock(), 0.001) / (len(found) - number)
            one = socket.socket(family, kind, protocol)
            try:
                one.settimeout(seconds)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.connect(address)
            except OSError as error:
                one.close()
                failure = error
            except BaseException:
                one.close()
                raise
            else:
                return one
        raise failure


class _Connection:
    def __init__(self, place: Place, stream: socket.socket) -> None:
        self.place = place
        self.idle_since = 0.0
        self.is_reusable = False
        self._stream = stream

    def is_quiet(self) -> bool:
        """Whether nothing came while it was idle: neither the end nor an answer nobody asked for."""
        self._stream.settimeout(0)
        try:
            # Past the TLS layer, which has no way to look without taking.
            socket.socket.recv(self._stream, 1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def ask(self, data: bytes, seconds_left: Callable[[], float]) -> Response:
        """Write, and read until the answer is complete."""
        self.is_reusable = False
        reader = AnswerReader()
        self._write(data, seconds_left)
        try:
            while (answer := reader.feed(self._read(seconds_left()))) is None:
                pass
        except OSError as error:
            raise NoAnswer(why_of(error), perhaps_received=True) from error
        self.is_reusable = reader.is_reusable
        return answer

    def close(self) -> None:
        self._stream.close()

    def _write(self, data: bytes, seconds_left: Callable[[], float]) -> None:
        rest = memoryview(data)
        # A TLS record that failed half-way may have left all the same.
        perhaps_received = isinstance(self._stream, ssl.SSLSocket)
        try:
            while rest:
                self._stream.settimeout(_positive(seconds_left()))
                rest = rest[self._stream.send(rest) :]
                perhaps_received = True
        except OSError as error:
            if isinstance(error, TimeoutError) or not perhaps_received:
                raise NoAnswer(why_of(error), perhaps_received=perhaps_received) from error
            # The service hung up on a request it had not read to its end; its answer may still be there to be read.

    def _read(self, seconds: float) -> bytes:
        self._stream.settimeout(_positive(seconds))
        return self._stream.recv(READ_BYTES)


def why_of(error: OSError | UnicodeError) -> str:
    """What failed, without the number of the error."""
    if isinstance(error, TimeoutError):
        return TIME_WAS_UP
    if isinstance(error, UnicodeError):
        return "the address holds no name of a host"
    return (error.strerror or str(error) or type(error).__name__).rstrip(".")


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise TimeoutError
    return seconds
