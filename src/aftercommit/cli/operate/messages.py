"""`aftercommit message`: find messages, look at them, act on them."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from aftercommit.cli.connection import connected, path_part
from aftercommit.cli.exit_codes import EXIT_CODES_HELP
from aftercommit.cli.output import print_fields, print_heading, print_json, print_table, shown
from aftercommit.domain.commands import CheckOutcome
from aftercommit.domain.lifecycle import Status
from aftercommit.sdk import Client, StoredMessage
from aftercommit.sdk.clients.operations import MessageFilters
from aftercommit.wire import MessageStatus, MessageSummary

_PAGE_MAX: Final = 200
_AGO: Final = re.compile(r"(\d{1,5})([smhd])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MESSAGE_ID = click.argument("message_id", metavar="ID", callback=path_part)
_REASON = click.option("--reason", required=True, help="Why; stays in the timeline.")


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> str | datetime | None:
    """`15m` (s, m, h, d) is that long ago; anything else is for the service to read."""
    ago = _AGO.fullmatch(value or "")
    if ago is None:
        return value
    return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})


@click.group(epilog=EXIT_CODES_HELP)
def message() -> None:
    """Find messages, look at them, act on them."""


@message.command("list", epilog=EXIT_CODES_HELP)
@click.option("--status", type=click.Choice([each.value for each in Status]), help="Only with this status.")
@click.option("--topic", help="Only of this topic.")
@click.option("--of-app", help="Only of this application.")
@click.option("--key", help="Only with this key.")
@click.option("--since", metavar="TIME", callback=_moment, help="Prepared at or after: RFC 3339, or 15m, 2h, 7d ago.")
@click.option("--until", metavar="TIME", callback=_moment, help="Prepared before; likewise.")
@click.option("--error", help="Only where the last error contains this.")
@click.option("--q", help="Only where id, key or last error contains this.")
@click.option("--cursor", help="Go on where a list ended (its next_cursor).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@connected
def list_messages(
    client: Client, as_json: bool, /, cursor: str | None, limit: int, of_app: str | None, **filters: Any
) -> None:
    """List messages, newest first."""
    messages, next_cursor = _collect(client, {**filters, "app": of_app}, cursor, limit)
    if as_json:
        print_json({"messages": messages, "next_cursor": next_cursor})
        return
    print_table(
        ("ID", "STATUS", "TOPIC", "KEY", "APP", "ATTEMPTS", "PREPARED", "NEXT", "ERROR"),
        [(e.id, e.status, e.topic, e.key, e.app, e.attempts, e.prepared_at, e.next_at, e.error) for e in messages],
    )
    if next_cursor:
        click.echo(f"There are more: --cursor '{shown(next_cursor)}'", err=True)


@message.command("show", epilog=EXIT_CODES_HELP)
@_MESSAGE_ID
@connected
def show_message(client: Client, as_json: bool, message_id: str) -> None:
    """Show one message with its deliveries and its timeline. The payload is printed with --json only."""
    found = client.message(message_id)
    if as_json:
        print_json(found)
        return
    print_fields(_message_fields(found))
    if found.deliveries:
        print_heading("Deliveries")
        print_table(
            ("SUBSCRIPTION", "STATUS", "ATTEMPTS", "SENT", "SETTLED", "NEXT", "ERROR"),
            [
                (each.subscription, each.status, each.attempts, each.sent_at, each.settled_at, each.next_at, each.error)
                for each in found.deliveries
            ],
        )
    print_heading("Timeline")
    print_table(
        ("AT", "EVENT", "STATUS", "SUBSCRIPTION", "ATTEMPT", "BY", "DETAIL"),
        [
            (each.at, each.event, each.status, each.subscription, each.attempt, each.actor, each.detail)
            for each in found.timeline
        ],
    )


@message.command(epilog=EXIT_CODES_HELP)
@_MESSAGE_ID
@click.argument("outcome", type=click.Choice([CheckOutcome.COMMITTED.value, CheckOutcome.ROLLED_BACK.value]))
@_REASON
@connected
def resolve(client: Client, as_json: bool, message_id: str, outcome: str, reason: str) -> None:
    """Decide an undecided message. Its initiator is asked once more, and a definitive answer wins."""
    _print_status(client.resolve(message_id, outcome, reason), message_id, as_json)


@message.command(epilog=EXIT_CODES_HELP)
@_MESSAGE_ID
@connected
def recheck(client: Client, as_json: bool, message_id: str) -> None:
    """Have the initiator asked now what became of its transaction."""
    _print_status(client.recheck(message_id), message_id, as_json)


@message.command(epilog=EXIT_CODES_HELP)
@_MESSAGE_ID
@click.option("--subscription", "subscriptions", multiple=True, help="Only for this one; may be repeated.")
@click.option("--reason", help="Why; stays in the timeline.")
@connected
def redeliver(
    client: Client, as_json: bool, message_id: str, subscriptions: tuple[str, ...], reason: str | None
) -> None:
    """Send a message again: at once if it is open, as a new message if it is settled."""
    _print_status(client.redeliver(message_id, subscriptions or None, reason), message_id, as_json)


@message.command(epilog=EXIT_CODES_HELP)
@_MESSAGE_ID
@_REASON
@connected
def discard(client: Client, as_json: bool, message_id: str, reason: str) -> None:
    """Give up what is not delivered yet of a message."""
    _print_status(client.discard(message_id, reason), message_id, as_json)


def _collect(
    client: Client, filters: dict[str, Any], cursor: str | None, limit: int
) -> tuple[list[MessageSummary], str | None]:
    """Up to `limit` messages, and the cursor behind them."""
    messages: list[MessageSummary] = []
    while True:
        wanted = MessageFilters(**filters, limit=min(limit - len(messages), _PAGE_MAX))  # type: ignore[typeddict-item]
        page = client.messages_page(cursor, **wanted)
        messages += page.messages
        cursor = page.next_cursor
        if cursor is None or len(messages) >= limit:
            return messages, cursor


def _message_fields(found: StoredMessage) -> Iterable[tuple[str, object]]:
    yield from [
        ("id", found.id),
        ("status", found.status),
        ("topic", found.topic),
        ("app", found.app),
        ("key", found.key),
        ("headers", found.headers or None),
        ("payload", f"{len(found.body)} bytes, {found.content_type}" if found.content_type else None),
        ("attempts", found.attempts),
        ("checks", found.checks),
        ("check hint", found.check_hint),
        ("prepared at", found.prepared_at),
        ("deliver at", found.deliver_at),
        ("confirmed at", found.confirmed_at),
        ("sent at", found.sent_at),
        ("settled at", found.settled_at),
        ("next at", found.next_at),
        ("error", found.error),
        ("resolved by", found.resolved_by),
        ("replay of", found.replay_of),
    ]


def _print_status(answer: MessageStatus, message_id: str, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    elif answer.id != message_id:
        click.echo(f"{shown(message_id)} is sent again as {shown(answer.id)}: {shown(answer.status)}")
    else:
        click.echo(f"{shown(answer.id)}: {shown(answer.status)}")
