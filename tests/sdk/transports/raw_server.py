"""A server of one's own for transports: it says the bytes a test wants, whether or not they are HTTP."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

# What one connection does; the connection is closed after it.
Talk = Callable[[socket.socket], None]


class RawServer:
    """Listens on a free port. The n-th connection is handed to the n-th talk, the last talk to all after it."""

    def __init__(self, talks: list[Talk], tls: ssl.SSLContext | None = None) -> None:
        self._talks = talks
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1/x?y=1"

    def serve(self) -> None:
        """Accept until the listener is closed."""
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.closing.is_set():
                connection.close()
                return
            talk = self._talks[min(self.connections, len(self._talks) - 1)]
            self.connections += 1
            self._threads.append(threading.Thread(target=self._talk, args=(talk, connection)))
            self._threads[-1].start()

    def stop(self) -> None:
        """End; waits for the connections."""
        self.closing.set()
        # Wakes the thread that accepts. (Without a look-up, which some tests replace.)
        with socket.socket() as last:
            last.connect(("127.0.0.1", self.port))
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _talk(self, talk: Talk, connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            with connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True) as stream:
                talk(stream)
        except OSError:
            # The client hung up, which is what some of the tests are about.
            connection.close()


@contextmanager
def talking(*talks: Talk, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """A server while the block runs."""
    server = RawServer(list(talks), tls)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)


def read_request(stream: socket.socket) -> bytes:
    """One whole request; b"" when the client hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        piece = stream.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Talk:
    """Read a request, say an answer, and so on; the last answer for ever."""

    def talk(stream: socket.socket) -> None:
        said = 0
        while read_request(stream):
            stream.sendall(answers[min(said, len(answers) - 1)])
            said += 1

    return talk


def answering_once(answer: bytes) -> Talk:
    """Read one request, say an answer, and hang up."""

    def talk(stream: socket.socket) -> None:
        if read_request(stream):
            stream.sendall(answer)

    return talk
