"""A load generator that costs little: keep-alive HTTP/1.1 over raw sockets, one request at a time per connection."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import msgspec

_HEAD_END = b"\r\n\r\n"


class Connection:
    """One keep-alive connection. `call` sends a JSON body and returns the decoded answer; errors end the run."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    async def call(self, path: str, body: bytes, expected: tuple[int, ...] = (200, 201)) -> bytes:
        """POST `body`; the answer's body. Raises on any status that is not expected."""
        self._writer.write(
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (path.encode(), len(body), body)
        )
        return await self._answer(path, expected)

    async def get(self, path: str) -> bytes:
        """The body of what is there. Raises on any status but 200."""
        self._writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        return await self._answer(path, (200,))

    async def _answer(self, path: str, expected: tuple[int, ...]) -> bytes:
        head = await self._reader.readuntil(_HEAD_END)
        status = int(head[9:12])
        length_at = head.lower().find(b"content-length:")
        length = int(head[length_at + 15 : head.find(b"\r\n", length_at)])
        answer = await self._reader.readexactly(length)
        if status not in expected:
            raise RuntimeError(f"{path} answered {status}: {answer[:300]!r}")
        return answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Run(msgspec.Struct):
    """What a load did: how many times, in how many seconds, and how long each took (seconds, unsorted)."""

    done: int = 0
    seconds: float = 0.0
    latencies: list[float] = []

    @property
    def per_second(self) -> float:
        """Done per second."""
        return self.done / self.seconds if self.seconds else 0.0

    def percentile_ms(self, share: float) -> float:
        """A latency percentile in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


Step = Callable[[Connection], Awaitable[int]]


async def load(host: str, port: int, steps: list[Step], seconds: float, count: Callable[[], int] | None = None) -> Run:
    """Run every step in a loop on its own connection for `seconds`. A step returns how many messages it finished.

    `count` replaces the sum of what the steps finished, where they finish different things.
    """
    run = Run()
    stop_at = perf_counter() + seconds

    async def drive(step: Step) -> None:
        connection = await Connection.open(host, port)
        while perf_counter() < stop_at:
            started = perf_counter()
            done = await step(connection)
            if done:
                run.latencies.append(perf_counter() - started)
                run.done += done
        connection.close()

    started = perf_counter()
    before = count() if count else 0
    await asyncio.gather(*(drive(step) for step in steps))
    run.seconds = perf_counter() - started
    if count:
        run.done = count() - before
    return run


def decoded(answer: bytes) -> Any:
    """The JSON of an answer."""
    return msgspec.json.decode(answer)
