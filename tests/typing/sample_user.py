"""A user's program as mypy and pyright see it: what comes out of the SDK has the type that it should have."""

from typing import Any, assert_type

from aftercommit.sdk import (
    AfterCommitClientError,
    AsyncClient,
    BatchResult,
    Client,
    IdConflict,
    PulledMessage,
    Unavailable,
    new_id,
    new_message,
)


def initiate(client: Client) -> str:
    """Prepare, commit, confirm."""
    message = client.prepare("orders.created", {"order": 42}, key="42", check_after_seconds=30)
    assert_type(message.id, str)
    confirmed = client.confirm(message.id)
    assert_type(confirmed.status, str)
    return message.id


def initiate_many(client: Client) -> list[str]:
    """The same for many messages at once."""
    prepared = [new_message("orders.created", {"order": number}, {"key": str(number)}) for number in range(3)]
    results = client.prepare_batch(prepared)
    assert_type(results, list[BatchResult])
    for result in results:
        if isinstance(result.error, IdConflict):
            raise result.error
        assert_type(result.ok, bool)
    return [result.unwrap().id for result in results]


def consume(client: Client) -> int:
    """Pull, work, report."""
    messages = client.pull("orders.created", "billing", max=10, wait_seconds=0.5)
    assert_type(messages, list[PulledMessage])
    for message in messages:
        assert_type(message.body, bytes)
        order: dict[str, Any] = message.json()
        if "order" in order:
            client.complete(message.id, "billing")
        else:
            client.fail(message.id, "There is no order in it.")
    return len(messages)


def give_up(client: Client) -> None:
    """What went wrong, and whether it matters."""
    message_id = new_id()
    try:
        client.cancel(message_id, reason="The customer left.")
    except Unavailable as error:
        assert_type(error.safe_to_ignore, bool)
    except AfterCommitClientError as error:
        assert_type(error.step, str | None)
        raise


def run() -> None:
    """A client is its own context manager."""
    with Client("http://127.0.0.1:8340", app="orders") as client:
        assert_type(client, Client)
        initiate(client)
        assert_type(client.ready(), bool)


async def run_async() -> None:
    """The same names on asyncio."""
    async with AsyncClient("http://127.0.0.1:8340", app="orders") as client:
        assert_type(client, AsyncClient)
        message = await client.prepare("orders.created", {"order": 42})
        await client.confirm(message.id)
        messages = await client.pull("orders.created", "billing")
        assert_type(messages, list[PulledMessage])
        assert_type(await client.complete_batch([each.id for each in messages]), list[BatchResult])
