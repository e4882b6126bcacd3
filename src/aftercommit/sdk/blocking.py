"""One core for blocking and asyncio callers: written once as coroutines, run here where nothing in them waits.

A blocking port does its work inside `async def` methods that never suspend. A coroutine that only awaits such methods
runs from its first line to its last within one `send`.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose ports all block; its exceptions come out as they are.

    Raises RuntimeError if it suspends after all: a blocking caller was given a port for asyncio.
    """
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("A blocking call met something that waits on asyncio; use the asyncio form of this object.")
