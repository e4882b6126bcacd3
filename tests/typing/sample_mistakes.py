"""Mistakes of a user's that mypy and pyright must find: every line marked as wrong, and no other."""

from aftercommit.sdk import AsyncClient, Client


def mistaken(client: Client) -> None:
    """Wrong names, wrong types, wrong things done with what comes back."""
    client.prepare("orders.created", {"order": 42}, delay_second=3)  # wrong
    client.prepare("orders.created", {"order": 42}, delay_seconds="3")  # wrong
    client.confirm(42)  # wrong
    client.confirm(client.prepare("orders.created"))  # wrong
    client.pull("orders.created")  # wrong
    client.fail("id")  # wrong
    client.confirmed("id")  # wrong
    for message in client.pull("orders.created", "billing"):
        message.payload_text  # wrong  # noqa: B018
    Client("http://127.0.0.1:8340", "orders")  # wrong


async def mistaken_async(client: AsyncClient) -> None:
    """The same, and what only asyncio has."""
    await client.confirm(42)  # wrong
    client.prepare("orders.created", {"order": 42}).id  # wrong  # noqa: B018
    with client:  # wrong
        return
