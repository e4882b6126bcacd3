"""Publishing inside an `atomic` whose commit is Django's own: ATOMIC_REQUESTS, or a block around the code at hand."""

import logging
from typing import Any, Final, Unpack

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from msgspec import UNSET

from aftercommit.sdk.barrier.markers import mark_committed, read_markers
from aftercommit.sdk.blocking import run_now
from aftercommit.sdk.clients.client import Client
from aftercommit.sdk.databases.django import DjangoHandle
from aftercommit.sdk.databases.failures import Failure, failure_of
from aftercommit.sdk.databases.port import Misused
from aftercommit.sdk.errors import AfterCommitClientError
from aftercommit.sdk.messages import MessageOptions, new_message
from aftercommit.sdk.service import BlockingService, tell
from aftercommit.sdk.transactions.points import Point
from aftercommit.sdk.transactions.transaction_errors import NotPrepared, RuledOut

_log: Final = logging.getLogger("aftercommit.transaction")


def publish(
    client: Client,
    topic: str,
    payload: Any = UNSET,
    *,
    using: str = DEFAULT_DB_ALIAS,
    **options: Unpack[MessageOptions],
) -> str:
    """Publish a message with the `atomic` that is open on the database `using`; returns its id.

    The message is prepared now, in a call of its own, and marked within whatever savepoint is open; it is confirmed
    after Django's commit, if its marker is still there. After a rollback, of which Django tells nobody, a check-back
    cleans up. Where the block is your own, `client.transaction(connection)` needs fewer calls.

    Raises `Misused` outside of any `atomic`, `NotPrepared`, `RuledOut`, and the database's errors; let them roll the
    block back.

        with transaction.atomic():
            order.save()
            publish(client, "orders.created", {"order": order.pk}, key=str(order.pk))
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise Misused("There is no atomic block for this message to go with; open one, or use client.transaction.")
    if options.get("confirmed"):
        raise TypeError("A message of a transaction is confirmed by its commit; use client.prepare for a plain one.")
    message = new_message(topic, payload, options)
    message_id = message.id or ""
    client.probe(Point.BEFORE_PREPARE)
    try:
        client.prepare_batch([message])[0].unwrap()
    except AfterCommitClientError as error:
        _doom(connection)
        raise NotPrepared(f"Not prepared, so the block must roll back: {error}", [message_id]) from error
    client.probe(Point.AFTER_PREPARE)
    try:
        run_now(mark_committed(DjangoHandle(connection), [message_id]))
    except Exception as error:
        # On MySQL and SQLite a failed statement leaves the transaction usable; it must not be.
        _doom(connection)
        if failure_of(error) is Failure.DUPLICATE:
            raise RuledOut("Its marker is there already, so the block must roll back.", [message_id]) from error
        raise
    transaction.on_commit(lambda: _confirm(client, message_id, using), using=using)
    return message_id


def _doom(connection: Any) -> None:
    """Whoever catches the error cannot commit all the same."""
    connection.set_rollback(True)


def _confirm(client: Client, message_id: str, using: str) -> None:
    """After COMMIT the marker says whether a savepoint around the message survived."""
    client.probe(Point.AFTER_COMMIT)
    try:
        is_marked = bool(run_now(read_markers(DjangoHandle(connections[using]), [message_id])))
    except Exception as error:
        _log.warning("The marker of message %s could not be read; check-back finds out: %s", message_id, error)
        return
    if is_marked:
        run_now(tell("confirm", BlockingService(client).confirm([message_id])))
        client.probe(Point.AFTER_SEND)
