"""`python -m benchmarks.initiators`: a check address that knows every outcome, and one that never answers.

Prints its port and ends when its standard input does. Half of all transactions have committed, by their ids;
`/silent` takes a call and says nothing.
"""

import asyncio
import subprocess
import sys
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import uvloop

SILENT: Final = "/silent"
_HEAD_END: Final = b"\r\n\r\n"
_COMMITTED: Final = frozenset("02468ace")


class Initiators:
    """The program, in a process of its own; use it as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.initiators"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.communicate(timeout=20.0)

    def url(self, path: str) -> str:
        """The address of a check."""
        return f"http://127.0.0.1:{self._port}{path}"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(_HEAD_END)
        length_at = head.lower().find(b"content-length:")
        length = int(head[length_at + 15 : head.find(b"\r\n", length_at)])
        body = await reader.readexactly(length)
        if head.split(b" ", 2)[1] == SILENT.encode():
            # Nothing more comes before the caller hangs up.
            await reader.read()
        else:
            answer = msgspec.json.encode({"results": [_result(each) for each in msgspec.json.decode(body)["checks"]]})
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
            )
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        # The caller left: it is the one that is measured, not this side.
        return
    finally:
        writer.close()


def _result(check: dict[str, Any]) -> dict[str, str]:
    committed = check["id"][-1] in _COMMITTED
    return {"id": check["id"], "outcome": "committed" if committed else "rolled_back"}


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())
