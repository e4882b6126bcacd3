"""A TCP proxy that does to a database's clients what networks do: delays, cuts, and answers that never arrive.

It forwards bytes and knows no protocol; whoever uses it looks at what a client sends and decides what becomes of it.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final, Self

_CHUNK_BYTES: Final = 65536
# How long a server may take for what it is asked after its client was cut off.
_LAST_ANSWER_SECONDS: Final = 2.0


class Fate(Enum):
    """What becomes of a piece that a client sends.

    `FORWARD`: nothing bad. `DELAY`: it arrives later. `CUT`: it never arrives, and both sides are cut off.
    `LOSE_ANSWER`: it arrives; nothing the server says from then on does, and after `seconds` the client is cut off.
    `LATE`: the client is cut off at once, and the piece arrives after `seconds` all the same.
    """

    FORWARD = "forward"
    DELAY = "delay"
    CUT = "cut"
    LOSE_ANSWER = "lose_answer"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fate and its time."""

    fate: Fate
    seconds: float = 0.0


FORWARD: Final = Fault(Fate.FORWARD)


class FaultProxy:
    """Listens on a free port in front of a server; use it as a context manager.

    `decide` is asked about every piece that a client sends, in the proxy's own thread, and must not block.

        with FaultProxy(server.port, lambda piece: Fault(Fate.CUT) if b"COMMIT" in piece else FORWARD) as proxy:
            psycopg.connect(host="127.0.0.1", port=proxy.port)
    """

    def __init__(self, server_port: int, decide: Callable[[bytes], Fault], *, host: str = "127.0.0.1") -> None:
        self.port = 0
        self.fates: Counter[Fate] = Counter()
        self.decide = decide
        self._host = host
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._links: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "The proxy did not start."
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, self._host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        links = list(self._links)
        for each in links:
            each.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            # Either side may vanish at any moment, or the proxy itself; then the link is over.
            with suppress(OSError, asyncio.CancelledError):
                server = await asyncio.open_connection(self._host, self._server_port)
                try:
                    await _Link(reader, writer, *server).run(self._judged)
                finally:
                    server[1].transport.abort()
        finally:
            writer.transport.abort()
            self._links.discard(link)

    def _judged(self, piece: bytes) -> Fault:
        fault = self.decide(piece)
        self.fates[fault.fate] += 1
        return fault


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(
        self,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._from_client, self._to_client = from_client, to_client
        self._from_server, self._to_server = from_server, to_server

    async def run(self, decide: Callable[[bytes], Fault]) -> None:
        """Until either side has gone."""
        answers = asyncio.create_task(self._answers())
        questions = asyncio.create_task(self._questions(decide, answers))
        try:
            await asyncio.wait({answers, questions}, return_when=asyncio.FIRST_COMPLETED)
            if answers.cancelled():
                # The link is dying as it was told to.
                await questions
        finally:
            for each in (answers, questions):
                each.cancel()
            await asyncio.gather(answers, questions, return_exceptions=True)

    async def _answers(self) -> None:
        while piece := await self._from_server.read(_CHUNK_BYTES):
            self._to_client.write(piece)
            await self._to_client.drain()

    async def _questions(self, decide: Callable[[bytes], Fault], answers: asyncio.Task[None]) -> None:
        while piece := await self._from_client.read(_CHUNK_BYTES):
            fault = decide(piece)
            match fault.fate:
                case Fate.CUT:
                    return
                case Fate.LOSE_ANSWER | Fate.LATE:
                    answers.cancel()
                    await asyncio.wait({answers})
                    await self._die(piece, fault)
                    return
                case Fate.DELAY:
                    await asyncio.sleep(fault.seconds)
                case Fate.FORWARD:
                    pass
            self._to_server.write(piece)
            await self._to_server.drain()

    async def _die(self, piece: bytes, fault: Fault) -> None:
        if fault.fate is Fate.LATE:
            self._to_client.transport.abort()
            await asyncio.sleep(fault.seconds)
            self._to_server.write(piece)
        else:
            self._to_server.write(piece)
            await asyncio.sleep(fault.seconds)
            self._to_client.transport.abort()
        # Whoever is cut off with an answer in its hands may roll back what it was asked to commit.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._from_server.read(_CHUNK_BYTES), _LAST_ANSWER_SECONDS)
