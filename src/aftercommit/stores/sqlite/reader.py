"""The reading side: a few threads with connections that cannot write."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from aftercommit.domain.errors import StoreUnavailable
from aftercommit.domain.message import Message
from aftercommit.ports.store import Stored
from aftercommit.stores.sqlite import rows, schema
from aftercommit.stores.sqlite.connection import connect_reader, told_as_ours

T = TypeVar("T")

_THREADS: Final = 2

_STORED: Final = f"""
    SELECT {schema.message_json("m.version")},
        (SELECT json_group_array(json(record)) FROM (
            SELECT {schema.EVENT_JSON} AS record FROM event WHERE message_id = m.id ORDER BY number)),
        (SELECT json_array({schema.CONTENT_JSON}) FROM content AS c WHERE c.id = m.id),
        (SELECT {schema.CONTENT_BYTES} FROM content AS c WHERE c.id = m.id)
    FROM message AS m WHERE m.id = ?"""
_FOUND: Final = f"""
    SELECT json_group_array({schema.message_json("m.version")})
    FROM json_each(?) AS wanted CROSS JOIN message AS m ON m.id = wanted.value"""


class ReaderThreads:
    """Runs queries beside the writer, each against the last committed state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def open(self) -> None:
        """Be ready; connections are made when they are needed."""
        self._executor = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="aftercommit-reader")

    async def query(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to `question`. Raises `StoreUnavailable` where the database cannot be read."""
        if self._executor is None:
            raise StoreUnavailable(f"The store {self._path} is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._answer, question)

    async def close(self) -> None:
        """Finish what is being read and disconnect."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, executor.shutdown))
            while not self._idle.empty():
                self._idle.get_nowait().close()

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with told_as_ours("read"):
            connection = self._connected()
            try:
                answer = question(connection)
            except sqlite3.Error:
                connection.close()
                raise
            except BaseException:
                self._idle.put(connection)
                raise
            self._idle.put(connection)
            return answer

    def _connected(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except Empty:
            return connect_reader(self._path)


def get(connection: sqlite3.Connection, message_id: str) -> Stored | None:
    """One message with its content and history."""
    found = connection.execute(_STORED, (message_id,)).fetchone()
    if found is None:
        return None
    message, events, content, carried = found
    contents = rows.cut_contents(content, carried) if content is not None else {}
    return Stored(
        message=rows.decode_message(message),
        content=contents.get(message_id),
        events=rows.decode_events(events),
    )


def find(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Message]:
    """The present states of the ids that exist."""
    [found] = connection.execute(_FOUND, (rows.ids_json(ids),)).fetchone()
    return {each.id: each for each in rows.decode_messages(found)}
