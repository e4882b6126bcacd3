"""What the examples in docstrings take for granted: a service, clients, and the names of somebody's program.

An example that needs more names gets them in `_names`. One that cannot be run yet is named in NOT_RUN with the reason,
and is only compiled.
"""

import ast
import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from types import CodeType
from typing import Any

from aftercommit import sdk
from aftercommit.sdk.exchange import DEFAULT_URL

_NO_TABLES = "takes a user's database with the SDK's tables for granted"
NOT_RUN: dict[str, str] = {
    "aftercommit.sdk.AsyncClient.bind": _NO_TABLES,
    "aftercommit.sdk.AsyncClient.transaction": _NO_TABLES,
    "aftercommit.sdk.Client.bind": _NO_TABLES,
    "aftercommit.sdk.Client.transaction": _NO_TABLES,
}


def compile_example(code: str) -> CodeType:
    """The program, in which `await` may stand outside of functions. Raises SyntaxError."""
    return compile(code, "<example>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def run_example(code: str, service_url: str) -> None:
    """Run it as if the service were where the examples say. In an example that awaits, `client` is asynchronous."""
    program = compile_example(code.replace(DEFAULT_URL, service_url))
    with sdk.Client(service_url, app="orders") as client:
        names = _names(client)
        if program.co_flags & inspect.CO_COROUTINE:
            asyncio.run(_run_awaiting(program, names, service_url))
        else:
            eval(program, names)  # noqa: S307 - our own docstrings


async def _run_awaiting(program: CodeType, names: dict[str, Any], service_url: str) -> None:
    async with sdk.AsyncClient(service_url, app="orders") as client:
        names["client"] = client
        await eval(program, names)  # noqa: S307 - our own docstrings


def _names(client: sdk.Client) -> dict[str, Any]:
    client.put_topic("orders.created", subscriptions=["billing"])
    # One that may be pulled, so that no example waits for it, and one that may be confirmed.
    client.prepare("orders.created", {"order": 41}, confirmed=True)
    message = client.prepare("orders.created", {"order": 42})
    return {
        **{name: getattr(sdk, name) for name in sdk.__all__},
        **dict.fromkeys(("bill", "pay", "ship"), _does_nothing),
        "client": client,
        "message": message,
        "message_id": message.id,
        "yesterday": datetime.now(UTC) - timedelta(days=1),
    }


def _does_nothing(*_given: Any, **_named: Any) -> None:
    """Somebody's business."""
