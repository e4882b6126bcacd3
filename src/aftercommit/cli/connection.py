"""How a command reaches the service: the options they all have, and the client made of them."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias

import click

from aftercommit.sdk import Client
from aftercommit.sdk.clients.calls import path
from aftercommit.sdk.clients.exchange import DEFAULT_URL, TIMEOUT_SECONDS
from aftercommit.sdk.transports.port import Transport

P = ParamSpec("P")

# What tests hand to click as `obj`, to answer instead of the network.
NewTransport: TypeAlias = Callable[[], Transport]

_OPTIONS: Final = (
    click.option("--url", envvar="AFTERCOMMIT_URL", default=DEFAULT_URL, show_default=True, help="The service."),
    click.option("--app", envvar="AFTERCOMMIT_APP", help="Act as this application, where the service has no keys."),
    click.option("--api-key", envvar="AFTERCOMMIT_KEY", help="Better given as AFTERCOMMIT_KEY: `ps` shows options."),
    click.option("--timeout-seconds", type=float, default=TIMEOUT_SECONDS, show_default=True, help="Repeats included."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
)


def connected(command: Callable[Concatenate[Client, bool, P], None]) -> Callable[..., None]:
    """Give a command the options of a connection, and call it with an open client and whether to print JSON."""

    def run(
        context: click.Context,
        url: str,
        app: str | None,
        api_key: str | None,
        timeout_seconds: float,
        as_json: bool,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> None:
        new_transport: NewTransport | None = context.obj
        try:
            client = Client(
                url,
                app=app,
                key=api_key,
                timeout_seconds=timeout_seconds,
                transport=new_transport() if new_transport else None,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        with client:
            command(client, as_json, *arguments, **named)

    functools.update_wrapper(run, command)
    wrapped: Callable[..., None] = click.pass_context(run)
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def path_part(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse an id or a name that, as part of an address, would lead elsewhere."""
    try:
        path(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value
