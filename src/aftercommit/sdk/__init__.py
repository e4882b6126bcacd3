"""What an initiator or a consumer installs: the client, local transactions that publish, the barrier, the inbox.

Importing this opens no socket and starts no thread. docs/sdk.md is the guide.

    from aftercommit.sdk import Client

    with Client("http://127.0.0.1:8340", app="orders") as client:
        message = client.prepare("orders.created", {"order": 42})
        ...                         # the local transaction
        client.confirm(message.id)
"""

from aftercommit.sdk.barrier.barrier import AsyncBarrier, Barrier
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.checkback.asgi import CheckApp
from aftercommit.sdk.checkback.pull import AsyncPullResponder, PullResponder
from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.checkback.wsgi import CheckWsgiApp
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.clients.async_client import AsyncClient
from aftercommit.sdk.clients.client import Client
from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.delivery import Delivery, NotOurs
from aftercommit.sdk.consumer.handlers import NoHandler
from aftercommit.sdk.consumer.inbox import AsyncInbox, Inbox
from aftercommit.sdk.consumer.receipts import Fail, Receipt, RetryLater
from aftercommit.sdk.databases.port import Misused
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
from aftercommit.sdk.transactions.outbox import AsyncOutboxRelay, OutboxRelay
from aftercommit.sdk.transactions.points import Point
from aftercommit.sdk.transactions.transaction import AsyncTransaction, Transaction
from aftercommit.sdk.transactions.transaction_errors import (
    CommitUncertain,
    NotPrepared,
    RuledOut,
    TransactionEnded,
    TransactionError,
)
from aftercommit.sdk.transactions.unit import Unit

__all__ = [
    "AfterCommitClientError",
    "AlreadyConfirmed",
    "AsyncBarrier",
    "AsyncClient",
    "AsyncConsumer",
    "AsyncInbox",
    "AsyncOutboxRelay",
    "AsyncPullResponder",
    "AsyncTransaction",
    "Barrier",
    "BatchResult",
    "CheckApp",
    "CheckResponder",
    "CheckWsgiApp",
    "Client",
    "CommitUncertain",
    "Conflict",
    "Consumer",
    "Delivery",
    "Denied",
    "Fail",
    "IdConflict",
    "Inbox",
    "Invalid",
    "InvalidTransition",
    "Misused",
    "NoHandler",
    "NotDelivered",
    "NotFound",
    "NotOurs",
    "NotPrepared",
    "OutboxRelay",
    "Outcome",
    "Point",
    "PullResponder",
    "PulledMessage",
    "Receipt",
    "Refused",
    "RetryLater",
    "RolledBack",
    "RuledOut",
    "StoredMessage",
    "Transaction",
    "TransactionEnded",
    "TransactionError",
    "Unavailable",
    "Unexpected",
    "Unit",
    "Unreachable",
    "new_id",
    "new_message",
]
