"""Bytes on a socket: for requests that no HTTP library would send."""

import socket
from dataclasses import dataclass
from email.parser import BytesHeaderParser

from tests.e2e.caller import Answer

TIMEOUT_SECONDS = 20.0


class Wire:
    """A connection that sends what it is given and reads what comes."""

    def __init__(self, port: int, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send all of it; False if the other side did not want it any more."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def read_to_end(self) -> "Exchange":
        """Everything that comes until the other side hangs up, or until nothing comes for the time-out."""
        received = bytearray()
        while True:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                return Exchange(bytes(received), closed=True)
            except TimeoutError:
                return Exchange(bytes(received), closed=False)
            if not part:
                return Exchange(bytes(received), closed=True)
            received += part


@dataclass(frozen=True)
class Exchange:
    """What came back, and whether the other side hung up."""

    received: bytes
    closed: bool

    @property
    def answers(self) -> list[Answer]:
        """The answers in what came; each must say how long it is."""
        answers = []
        rest = self.received
        while rest:
            head, separator, rest = rest.partition(b"\r\n\r\n")
            assert separator, f"Half an answer: {head[:200]!r}"
            status_line, _, header_lines = head.partition(b"\r\n")
            version, status = status_line.split()[:2]
            assert version == b"HTTP/1.1", status_line
            parsed = BytesHeaderParser().parsebytes(header_lines)
            headers = {name.lower(): value for name, value in parsed.items()}
            length = int(headers.get("content-length", "0"))
            assert len(rest) >= length, f"A short answer: {self.received[-200:]!r}"
            answers.append(Answer(int(status), headers, rest[:length]))
            rest = rest[length:]
        return answers


def talk(port: int, data: bytes, timeout_seconds: float = TIMEOUT_SECONDS, *, finish: bool = False) -> Exchange:
    """Send these bytes and read until the other side hangs up. `finish`: say that nothing more is sent."""
    with Wire(port, timeout_seconds) as wire:
        wire.send(data)
        if finish:
            wire.socket.shutdown(socket.SHUT_WR)
        return wire.read_to_end()


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request that hangs up after its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if not any(each.lower().startswith(("content-length", "transfer-encoding")) for each in headers):
        lines.append(f"Content-Length: {len(body)}")
    if not any(each.lower().startswith("content-type") for each in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
