"""What an initiator or a consumer installs: the client, the transaction, the outcome and the inbox.

Importing this opens no socket and starts no thread.

    from aftercommit.sdk import Client

    with Client("http://127.0.0.1:8340", app="orders") as client:
        message = client.prepare("orders.created", {"order": 42})
        ...                         # the local transaction
        client.confirm(message.id)
"""

from aftercommit.sdk.answers import BatchResult
from aftercommit.sdk.async_client import AsyncClient
from aftercommit.sdk.client import Client
from aftercommit.sdk.errors import (
    AfterCommitClientError,
    AlreadyConfirmed,
    Conflict,
    Denied,
    IdConflict,
    Invalid,
    InvalidTransition,
    NotDelivered,
    NotFound,
    Refused,
    RolledBack,
    Unavailable,
    Unexpected,
    Unreachable,
)
from aftercommit.sdk.messages import PulledMessage, StoredMessage, new_id, new_message

__all__ = [
    "AfterCommitClientError",
    "AlreadyConfirmed",
    "AsyncClient",
    "BatchResult",
    "Client",
    "Conflict",
    "Denied",
    "IdConflict",
    "Invalid",
    "InvalidTransition",
    "NotDelivered",
    "NotFound",
    "PulledMessage",
    "Refused",
    "RolledBack",
    "StoredMessage",
    "Unavailable",
    "Unexpected",
    "Unreachable",
    "new_id",
    "new_message",
]
