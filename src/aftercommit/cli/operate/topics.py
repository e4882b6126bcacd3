"""`aftercommit topic`: look at topics and change them."""

from typing import Any

import click
import msgspec

from aftercommit.cli.connection import connected, path_part
from aftercommit.cli.exit_codes import EXIT_CODES_HELP
from aftercommit.cli.output import print_fields, print_heading, print_json, print_table
from aftercommit.sdk import Client
from aftercommit.wire import SubscriptionRequest, TopicAnswer

_TOPIC = click.argument("name", callback=path_part)


@click.group(epilog=EXIT_CODES_HELP)
def topic() -> None:
    """Look at topics and change them."""


@topic.command("list", epilog=EXIT_CODES_HELP)
@connected
def list_topics(client: Client, as_json: bool) -> None:
    """List all topics by name."""
    topics = client.topics()
    if as_json:
        print_json({"topics": topics})
        return
    rows = [(each.topic, each.app, each.paused, _subscription_names(each)) for each in topics]
    print_table(("TOPIC", "APP", "PAUSED", "SUBSCRIPTIONS"), rows)


@topic.command("show", epilog=EXIT_CODES_HELP)
@_TOPIC
@connected
def show_topic(client: Client, as_json: bool, name: str) -> None:
    """Show a topic, its subscriptions and the policy in force."""
    _print_topic(client.topic(name), as_json)


@topic.command("set", epilog=EXIT_CODES_HELP)
@_TOPIC
@click.option(
    "--subscription",
    "subscriptions",
    multiple=True,
    metavar="NAME[:APP]",
    help="Repeat for each: together they are all the topic's subscriptions. None given: they stay as they are.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="KEY=VALUE",
    help="Repeat for each: together they are all that differs from the defaults, as in deliveries_max=5 or"
    " redelivery_seconds=60,300. None given: they stay as they are.",
)
@click.option("--force", is_flag=True, help="Drop subscriptions although deliveries are open; those are given up.")
@connected
def set_topic(
    client: Client,
    as_json: bool,
    name: str,
    subscriptions: tuple[str, ...],
    policies: tuple[str, ...],
    force: bool,
) -> None:
    """Create a topic, or change it."""
    changed = client.put_topic(
        name,
        subscriptions=[_subscription(each) for each in subscriptions] or None,
        policy=dict(_policy(each) for each in policies) or None,
        force=force,
    )
    _print_topic(changed, as_json)


@topic.command(epilog=EXIT_CODES_HELP)
@_TOPIC
@connected
def pause(client: Client, as_json: bool, name: str) -> None:
    """Stop sending, redelivery and pull of a topic; the rest goes on."""
    _print_topic(client.pause(name), as_json)


@topic.command(epilog=EXIT_CODES_HELP)
@_TOPIC
@connected
def resume(client: Client, as_json: bool, name: str) -> None:
    """Let a paused topic go on."""
    _print_topic(client.resume(name), as_json)


def _print_topic(found: TopicAnswer, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("topic", found.topic),
            ("app", found.app),
            ("paused", found.paused),
            ("created", found.created_at),
            ("destination", found.destination),
        ]
    )
    print_heading("Subscriptions")
    print_table(
        ("NAME", "APP", "IMPLICIT", "DIFFERENT POLICY"),
        [(each.name, each.app, each.implicit, _difference(each.policy, found.policy)) for each in found.subscriptions],
    )
    print_heading("Policy")
    print_fields(found.policy.items())


def _difference(policy: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in policy.items() if common.get(name) != value}


def _subscription_names(found: TopicAnswer) -> list[str]:
    return [each.name if each.app == found.app else f"{each.name}:{each.app}" for each in found.subscriptions]


def _subscription(text: str) -> SubscriptionRequest:
    name, _, app = text.partition(":")
    return SubscriptionRequest(name=name, app=app or None)


def _policy(text: str) -> tuple[str, Any]:
    """`key=value`; values are numbers, or lists of numbers with or without brackets."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE.", param_hint="--policy")
    for form in (value, f"[{value}]"):
        try:
            read = msgspec.json.decode(form.encode())
        except msgspec.DecodeError:
            continue
        return name, [read] if name == "redelivery_seconds" and not isinstance(read, list) else read
    raise click.BadParameter(f"{value!r} is not a number or a list of numbers.", param_hint="--policy")
