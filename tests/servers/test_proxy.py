"""The proxy does what it is told to each piece, and nothing to the others."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy


class Echo:
    """A server that answers every piece with the same piece, and remembers what came."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.hung_up = threading.Event()
        self.news = threading.Condition()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def await_piece(self, piece: bytes) -> bool:
        """Whether it came within ten seconds."""
        with self.news:
            return self.news.wait_for(lambda: piece in self.heard, 10)

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            try:
                while piece := connection.recv(1000):
                    with self.news:
                        self.heard.append(piece)
                        self.news.notify_all()
                    connection.sendall(piece)
            except OSError:
                self.hung_up.set()
        self.hung_up.set()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server behind the proxy."""
    with closing(Echo()) as server:
        yield server


def proxied(echo: Echo, fault: Fault) -> FaultProxy:
    return FaultProxy(echo.port, lambda piece: fault if piece == b"COMMIT" else FORWARD)


def connected(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def is_cut_off(client: socket.socket) -> bool:
    """Waits for it."""
    try:
        return client.recv(1000) == b""
    except ConnectionError:
        return True


def said(client: socket.socket, piece: bytes) -> bytes:
    client.sendall(piece)
    return client.recv(1000)


@pytest.mark.parametrize("fault", [FORWARD, Fault(Fate.DELAY, 0.01)])
def test_what_is_forwarded_is_answered(echo: Echo, fault: Fault) -> None:
    with proxied(echo, fault) as proxy, connected(proxy) as client:
        assert said(client, b"BEGIN") == b"BEGIN"
        assert said(client, b"COMMIT") == b"COMMIT"
        assert proxy.fates[fault.fate] >= 1


def test_what_is_cut_never_arrives(echo: Echo) -> None:
    with proxied(echo, Fault(Fate.CUT)) as proxy, connected(proxy) as client:
        assert said(client, b"BEGIN") == b"BEGIN"
        client.sendall(b"COMMIT")
        assert is_cut_off(client)
        assert echo.hung_up.wait(10)
        assert echo.heard == [b"BEGIN"]


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_an_answer_is_lost_though_its_question_arrived(echo: Echo, seconds: float) -> None:
    with proxied(echo, Fault(Fate.LOSE_ANSWER, seconds)) as proxy, connected(proxy) as client:
        assert said(client, b"BEGIN") == b"BEGIN"
        client.sendall(b"COMMIT")
        assert is_cut_off(client)
        assert echo.await_piece(b"COMMIT")


def test_what_is_late_arrives_after_its_sender_was_cut_off(echo: Echo) -> None:
    with proxied(echo, Fault(Fate.LATE, 0.2)) as proxy, connected(proxy) as client:
        assert said(client, b"BEGIN") == b"BEGIN"
        client.sendall(b"COMMIT")
        assert is_cut_off(client)
        assert echo.heard == [b"BEGIN"]
        assert echo.await_piece(b"COMMIT")


def test_a_client_that_leaves_takes_its_connection_along(echo: Echo) -> None:
    with proxied(echo, FORWARD) as proxy:
        with connected(proxy) as client:
            assert said(client, b"BEGIN") == b"BEGIN"
        assert echo.hung_up.wait(10)
