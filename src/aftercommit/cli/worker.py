"""`aftercommit worker`: run consumers as a process of their own, until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeAlias

import click

from aftercommit.cli.exit_codes import EXIT_CODES_HELP, ExitCode

if TYPE_CHECKING:
    from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer

    AnyConsumer: TypeAlias = Consumer | AsyncConsumer

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log: Final = logging.getLogger("aftercommit.worker")


@click.command(epilog=EXIT_CODES_HELP)
@click.argument("names", metavar="MODULE:NAME...", nargs=-1, required=True)
@click.option(
    "--grace-seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="How long handlers may go on after SIGTERM.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="AFTERCOMMIT_LOG_LEVEL",
    help="What is told on stderr.",
)
def worker(names: tuple[str, ...], grace_seconds: float, log_level: str) -> None:
    """Run consumers: `aftercommit worker shop.consumers:consumer`.

    Each NAME is a Consumer or an AsyncConsumer of the SDK. They pull from the built-in broker until SIGTERM or Ctrl-C:
    then nothing new is pulled, and running handlers may end within the grace. A second signal ends the process at once.
    What was not finished is rolled back, and its messages come again; the exit code is 1 then.

    Modules are looked for in the working directory first, then on PYTHONPATH.
    """
    logging.basicConfig(level=log_level.upper(), format=_LOG_FORMAT)
    if os.getcwd() not in sys.path:  # noqa: PTH109 - it is compared with and put among strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    consumers = [_loaded(each) for each in names]
    unfinished = asyncio.run(_Worker(consumers, grace_seconds).run())
    if unfinished:
        _end_at_once()


class _Worker:
    """Consumers on one loop, and threads for those that block."""

    def __init__(self, consumers: Sequence["AnyConsumer"], grace_seconds: float) -> None:
        self._consumers = consumers
        self._grace_seconds = grace_seconds
        self._stopping = False

    async def run(self) -> int:
        """Run until a signal; how many handlers did not end in time."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        # Not used as a context manager: it would wait for threads that outlive the grace.
        threads = ThreadPoolExecutor(len(self._consumers), thread_name_prefix="consumer")
        runs = [asyncio.ensure_future(self._started(each, threads)) for each in self._consumers]
        for topic, subscription in (pair for each in self._consumers for pair in each.subscriptions):
            _log.info("Consuming %s for %s.", topic, subscription)
        try:
            # None ends before it is told to; one that does takes the others with it.
            await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
            self._stop()
            return sum(await asyncio.gather(*runs))
        finally:
            threads.shutdown(wait=False)
            await self._close()

    def _started(self, consumer: "AnyConsumer", threads: ThreadPoolExecutor) -> Awaitable[int]:
        from aftercommit.sdk.consumer.consumer import AsyncConsumer

        if isinstance(consumer, AsyncConsumer):
            return consumer.run(grace_seconds=self._grace_seconds)
        run = consumer.run
        return asyncio.get_running_loop().run_in_executor(threads, lambda: run(grace_seconds=self._grace_seconds))

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopping:
            _log.warning("%s again: ending at once. What runs is rolled back, and comes again.", number.name)
            _end_at_once()
        _log.info("%s: pulling no more; handlers have %s s to end.", number.name, self._grace_seconds)
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for each in self._consumers:
            each.stop()

    async def _close(self) -> None:
        for client in {id(each.client): each.client for each in self._consumers}.values():
            closing = client.close()
            if closing is not None:
                await closing


def _loaded(name: str) -> "AnyConsumer":
    from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer

    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise click.UsageError(f"{name!r} is not MODULE:NAME, such as shop.consumers:consumer.")
    try:
        module = import_module(module_name)
    except Exception as error:
        _log.debug("The import of %s failed.", module_name, exc_info=error)
        raise click.ClickException(f"{module_name} cannot be imported: {_told(error)}") from error
    try:
        found = attrgetter(path)(module)
    except AttributeError:
        raise click.UsageError(f"{module_name} has no {path}.") from None
    if not isinstance(found, Consumer | AsyncConsumer):
        raise click.UsageError(f"{name} is no Consumer and no AsyncConsumer, but {type(found).__name__}.")
    if not found.subscriptions:
        raise click.ClickException(f"{name} has no handlers: decorate one with `@consumer.on(topic, subscription)`.")
    return found


def _told(error: Exception) -> str:
    """The error in one line, with the place that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if "importlib" in place.filename else f" ({place.filename}, line {place.lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _end_at_once() -> None:
    """Without waiting for threads, which nobody can interrupt. Databases roll back what is open."""
    logging.shutdown()
    os._exit(ExitCode.FAILURE)
