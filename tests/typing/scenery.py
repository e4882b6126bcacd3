"""Runs the examples of docstrings as parts of a program, and then whatever they defined for others to call.

`world` and `frameworks` have the names that examples take for granted.
"""

import ast
import asyncio
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

from faststream.rabbit import TestRabbitBroker

from aftercommit import sdk
from aftercommit.sdk.clients.exchange import DEFAULT_URL
from aftercommit.wire import Check
from tests.typing.docstrings import Documented
from tests.typing.frameworks import particular_names
from tests.typing.world import TOPIC, Names, awaiting_world, blocking_world

# They await nothing themselves, and are for asyncio.
_FOR_ASYNCIO = ("Async", "InboxMiddleware", "require_safe", "LossySubscriber")
_DECIDED = {sdk.Outcome.COMMITTED, sdk.Outcome.ROLLED_BACK}


class Failing:
    """A client whose first call raises, whichever it is."""

    def __init__(self, client: sdk.Client, error: Exception) -> None:
        self._client = client
        self._error = error
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*given: Any, **named: Any) -> Any:
            if self.failed:
                return method(*given, **named)
            self.failed = True
            raise self._error

        return call


class _Errors(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def compile_example(code: str) -> CodeType:
    """The program, in which `await` may stand outside of functions. Raises SyntaxError."""
    return compile(code, "<example>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def run_example(documented: Documented, service_url: str, folder: Path) -> None:
    """Run an example as if the service were where the examples say. Raises what it raises, or AssertionError."""
    program = compile_example(documented.example.replace(DEFAULT_URL, service_url))
    awaits = bool(program.co_flags & inspect.CO_COROUTINE) or documented.name.startswith(_FOR_ASYNCIO)
    with no_logged_errors(), sdk.Client(service_url, app="orders") as client:
        if awaits:
            asyncio.run(_run_awaiting(documented, program, client, service_url=service_url, folder=folder))
            return
        with blocking_world(client, folder) as names:
            _run_blocking(documented, program, names)


def run_failing(documented: Documented, error: Exception, service_url: str, *, folder: Path) -> None:
    """Run an example whose first call raises `error`, which the example must handle."""
    program = compile_example(documented.example)
    with no_logged_errors(), sdk.Client(service_url, app="orders") as client, blocking_world(client, folder) as names:
        failing = names["client"] = Failing(client, error)
        eval(program, names)  # noqa: S307 - our own docstrings
        assert failing.failed, "The example calls nothing that could raise."


@contextmanager
def no_logged_errors() -> Iterator[None]:
    """What the SDK logs as an error is one of the example's: a handler or a rule that raised."""
    handler = _Errors(logging.ERROR)
    logger = logging.getLogger("aftercommit")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not handler.texts, "\n".join(handler.texts)


def _names_of(documented: Documented, names: Names) -> Names:
    """What the example has imported."""
    top = documented.name.partition(".")[0]
    own = getattr(import_module(documented.module), top) if top else None
    return ({} if top in names or not top else {top: own}) | particular_names(documented.name, names)


def _run_blocking(documented: Documented, program: CodeType, names: Names) -> None:
    name = documented.name
    names |= _names_of(documented, names)
    with names["client"].transaction(names["connection"]) if name.startswith("Transaction.") else nullcontext() as tx:
        names["tx"] = tx
        eval(program, names)  # noqa: S307 - our own docstrings
    _use_blocking(name, names)


async def _run_awaiting(
    documented: Documented, program: CodeType, blocking: sdk.Client, *, service_url: str, folder: Path
) -> None:
    name = documented.name
    async with (
        sdk.AsyncClient(service_url, app="orders") as client,
        awaiting_world(client, blocking, folder) as names,
    ):
        names.update(_names_of(documented, names))
        in_transaction = name.startswith("AsyncTransaction.")
        async with client.transaction(names["connection"]) if in_transaction else nullcontext() as tx:
            names["tx"] = tx
            made = eval(program, names)  # noqa: S307 - our own docstrings
            if inspect.isawaitable(made):
                await made
        await _use_awaiting(name, names)


def _use_blocking(name: str, names: Names) -> None:
    """Call what the example defined."""
    for function in ("upgrade", "downgrade"):
        if function in names:
            names[function]()
    consumer = names["consumer"]
    if not consumer.receipts:
        for _topic, subscription in consumer.subscriptions:
            consumer.receive(names["delivery"], subscription)
    _require_receipts(name, consumer.receipts)
    if isinstance(names["responder"], sdk.CheckResponder):
        _require_outcomes(names["responder"].check(_checks()))


async def _use_awaiting(name: str, names: Names) -> None:
    consumer = names["consumer"]
    if not consumer.receipts:
        for _topic, subscription in consumer.subscriptions:
            await consumer.receive(names["delivery"], subscription)
    _require_receipts(name, consumer.receipts)
    if isinstance(names["responder"], sdk.CheckResponder):
        outcomes = names["responder"].check(_checks())
        _require_outcomes(await outcomes if inspect.isawaitable(outcomes) else outcomes)
    if name == "require_safe":
        await names["check"]()
    if name == "InboxMiddleware":
        async with TestRabbitBroker(names["broker"]) as broker:
            await broker.publish(
                {"number": 42}, "aftercommit.orders.created.stock", headers=names["properties"].headers
            )


def _checks() -> list[Check]:
    return [
        Check(id=sdk.new_id(), topic=topic, key="42", hint=None, prepared_at="2026-01-01T00:00:00Z", check=1)
        for topic in (TOPIC, "orders.paid")
    ]


def _require_receipts(name: str, receipts: list[sdk.Receipt]) -> None:
    wanted = {"Fail": {sdk.Receipt.FAILED}, "RetryLater": {sdk.Receipt.RETRY_LATER}}
    assert set(receipts) <= wanted.get(name, {sdk.Receipt.COMPLETED, sdk.Receipt.DUPLICATE}), receipts


def _require_outcomes(outcomes: Any) -> None:
    assert _DECIDED & set(outcomes.values()), outcomes
